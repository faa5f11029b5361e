// How operations reach the API: queries and mutations by POST, subscriptions over a WebSocket of their own.
import { getOperationAST, parse } from "graphql";
import { createClient } from "graphql-ws";

const ACCEPT = "application/graphql-response+json, application/json;q=0.9";

/** A GraphiQL fetcher for the API at `url`; what stands in the headers editor goes with every operation. */
export function makeFetcher(url) {
  return (parameters, { headers = {}, documentAST } = {}) =>
    isSubscription(documentAST ?? parse(parameters.query), parameters.operationName)
      ? subscribe(url, parameters, headers)
      : post(url, parameters, headers);
}

function isSubscription(document, operationName) {
  return getOperationAST(document, operationName)?.operation === "subscription";
}

async function post(url, parameters, headers) {
  const response = await fetch(url, {
    method: "POST",
    headers: { accept: ACCEPT, "content-type": "application/json", ...headers },
    body: JSON.stringify(parameters),
    credentials: "same-origin",
  });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    // a proxy, or a host that wants a login first
    throw { message: `The server answered ${response.status} without JSON`, body: text.slice(0, 1000) };
  }
}

function subscribe(url, parameters, headers) {
  const socket = new URL(url);
  socket.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return {
    subscribe(sink) {
      const client = createClient({
        url: socket.href,
        connectionParams: asConnectionParams(headers),
        // whoever watches shall see that the connection is gone
        retryAttempts: 0,
      });
      const stop = client.subscribe(parameters, {
        next: (result) => sink.next(result),
        error: (reason) => sink.error(explained(reason)),
        complete: () => sink.complete(),
      });
      return {
        unsubscribe() {
          stop();
          client.dispose();
        },
      };
    },
  };
}

// A browser cannot send headers with a WebSocket; servers look for this spelling.
function asConnectionParams(headers) {
  const entries = Object.entries(headers).map(([name, value]) =>
    name.toLowerCase() === "authorization" ? ["Authorization", value] : [name, value],
  );
  return Object.fromEntries(entries);
}

function explained(reason) {
  if (Array.isArray(reason)) {
    return reason;
  }
  if (typeof reason?.code === "number") {
    return { message: `The server closed the WebSocket: ${reason.code} ${reason.reason}`.trim() };
  }
  return { message: reason instanceof Error ? reason.message : "The server cannot be reached over a WebSocket" };
}
