// Stands in for GraphiQL's preview of images: resting on a text of a response that looks like the address of an image
// would send requests to wherever that text, which anybody may have written into a job, points to.
export function ImagePreview() {
  return null;
}

ImagePreview.shouldRender = () => false;
