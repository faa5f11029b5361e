// The page: GraphiQL on the API that served it.
import { GraphiQL } from "graphiql";
import { createElement } from "react";
import { createRoot } from "react-dom/client";

import { makeFetcher } from "./fetcher.js";
import { makeStorage } from "./storage.js";

import "graphiql/graphiql.css";
import "./page.css";

const page = document.getElementById("graphiql");
// The path without a slash at its end: /graphql and /graphql/ are one API.
const path = window.location.pathname.replace(/\/+$/, "");
const properties = {
  fetcher: makeFetcher(new URL(path, window.location.origin)),
  storage: makeStorage(`gnj:${path}:`),
  defaultTabs: JSON.parse(page.dataset.examples),
  // What is in the headers is a secret more often than not: it is gone with the page.
  shouldPersistHeaders: false,
  defaultEditorToolsVisibility: "variables",
};
if (page.dataset.introspection === "off") {
  properties.schema = null;
}
const logo = createElement(GraphiQL.Logo, null, createElement("span", { className: "gnj-logo" }, "gnj"));
createRoot(page).render(createElement(GraphiQL, properties, logo));
