// GraphiQL keeps its tabs and settings in the storage of the origin, where another GraphiQL may keep its own.

// GraphiQL leaves the headers out of the tabs it keeps when told to, but not out of the history.
const HISTORY = /:(queries|favorites)$/;

function withoutHeaders(value) {
  return JSON.stringify(JSON.parse(value), (key, each) => (key === "headers" ? undefined : each));
}

/** The part of `localStorage` whose keys begin with `prefix`; null where the browser keeps nothing. */
export function makeStorage(prefix) {
  let kept;
  try {
    kept = window.localStorage;
  } catch {
    return null;
  }
  const keys = () => Object.keys(kept).filter((key) => key.startsWith(prefix));
  return {
    getItem: (key) => kept.getItem(prefix + key),
    setItem: (key, value) => kept.setItem(prefix + key, HISTORY.test(key) ? withoutHeaders(value) : value),
    removeItem: (key) => kept.removeItem(prefix + key),
    clear: () => keys().forEach((key) => kept.removeItem(key)),
    get length() {
      return keys().length;
    },
  };
}
