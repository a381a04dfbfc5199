// A Git server as a process of its own, so that it can run in a host's network namespace. Takes faults and
// credentials from its parent: see GitServerProcess in cli-support.ts.
import {
  type GitServerFault,
  type GitServerOptions,
  type GitServerStage,
  startGitServer,
} from "../fixtures/git-server.ts";

/** What the parent says. */
export type GitServerOrder =
  | { readonly kind: "start"; readonly options: GitServerOptions }
  | {
      readonly kind: "fault";
      readonly fault: GitServerFault | undefined;
      readonly stage: GitServerStage | undefined;
    };

let server: Awaited<ReturnType<typeof startGitServer>> | undefined;

process.on("message", (order: GitServerOrder) => {
  void (async () => {
    if (order.kind === "start") {
      server = await startGitServer(order.options);
      process.send?.(server.url);
    } else {
      server?.setFault(order.fault, order.stage);
      process.send?.("done");
    }
  })();
});

process.on("disconnect", () => process.exit(0));
