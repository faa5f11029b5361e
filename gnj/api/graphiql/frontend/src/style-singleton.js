// Stands in for react-style-singleton, which inserts <style> elements: the page's Content-Security-Policy allows none.
// A style sheet made by a script is allowed.
import { useEffect } from "react";

function makeSheet() {
  let users = 0;
  let sheet = null;
  return {
    add(styles) {
      if (users === 0) {
        sheet = new CSSStyleSheet();
        sheet.replaceSync(styles);
        document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
      }
      users += 1;
    },
    remove() {
      users -= 1;
      if (users === 0) {
        document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
      }
    },
  };
}

/** A component that applies `styles` while it, or another one made by the same call, is on the page. */
export function styleSingleton() {
  const sheet = makeSheet();
  return function Styles({ styles, dynamic }) {
    useEffect(() => {
      sheet.add(styles);
      return () => sheet.remove();
      // as the original: other styles do not count unless they are said to change
    }, [styles && dynamic]);
    return null;
  };
}
