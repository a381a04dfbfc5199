// explain: what happens to a packet, and which line of policy says so. The answer is the reference model's, which
// shares no code with the datapath.
import { Option } from "commander";
import { agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { lookAlone } from "../alone.ts";
import { defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { explainFolder, explainInForce } from "../explain.ts";
import { commandOption } from "../options.ts";
import { parseQuestion, type QuestionWords, readWords } from "../question.ts";
import { type ExplainView, renderExplain } from "../views/explain.ts";

interface ExplainOptions extends QuestionWords {
  readonly dir?: string;
}

export const explainCommand = defineCommand<ExplainOptions>({
  name: "explain",
  summary: "Say what happens to a packet, and by which rule",
  description:
    "Say what happens to a packet that arrives on an interface, and which rule of which file decides; under the " +
    "policy in force on this host, or under that of a folder",
  options: [
    new Option("-i, --interface <name>", "the interface that the packet arrives on"),
    new Option("-p, --protocol <protocol>", "tcp, udp, icmp, icmpv6, gre, esp, ah, sctp, or a number"),
    new Option("-s, --source <address>", "the source address"),
    new Option("-d, --destination <address>", "the destination address"),
    new Option("--source-port <port>", "the source port; without it, no rule that asks for one matches"),
    new Option("--destination-port <port>", "the destination port; likewise"),
    new Option(
      "--fragment <which>",
      "the packet is whole (the default), or the first or a later fragment",
    ).choices(["whole", "first", "later"]),
    new Option("--tcp-flags <flags>", "flags that are set, such as syn,ack, or none"),
    new Option("--icmp <type>", "type of ICMP or ICMPv6 by name or number, with /CODE if the code is known"),
    new Option("--dscp <dscp>", "the DSCP by name or number"),
    new Option("--length <bytes>", "bytes of the IP packet, its header included"),
    new Option("--vlan <ids>", "none (the default), the tag's id, or outer and inner id: 100,10"),
    new Option("--source-mac <address>", "the hardware address that the frame comes from"),
    new Option("--destination-mac <address>", "the hardware address that it goes to"),
    new Option(
      "--state <state>",
      "what the packet is to the connections that are known; new is the default",
    ).choices(["new", "established", "related", "invalid"]),
    new Option("--packet <hex>", "the packet's bytes from the Ethernet header on, instead of a description"),
    commandOption.dir("take the policy of this folder"),
  ],
  flags: "source",
  examples: [
    [
      "penstock explain -i eth0 -p tcp -s 198.51.100.7 -d 192.0.2.1 --destination-port 22",
      "may this host reach our SSH port?",
    ],
    ["penstock explain --dir policies -i eth0 --packet 0200...", "a captured packet, under the working tree"],
  ],
  exits: { 0: "explained, whatever the verdict is" },
  async run(context, { options }) {
    const words = readWords(options);
    const question = parseQuestion(words);
    let view: ExplainView;
    if (options.dir !== undefined) {
      const settings = context.settings();
      view = explainFolder(question, { folder: options.dir, settings, now: Date.now() });
    } else {
      const agent = await askForAgent(context);
      if (agent !== undefined)
        view = await agent.ask({ method: "POST", path: agentPaths.explain, body: words });
      else {
        requireInstalledDatapath(context.settings()).close();
        view = await lookAlone(context, async ({ settings, reconciler, datapath }) =>
          explainInForce(question, {
            reconciler,
            datapath: datapath ?? { interfaces: () => [] },
            now: Date.now(),
            settings,
          }),
        );
      }
    }
    context.output.result(view, renderExplain);
    return exitCode.done;
  },
});
