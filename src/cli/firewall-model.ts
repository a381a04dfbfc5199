// What the command line needs of the firewall kind: the reference model, which says what must happen to a packet.
export {
  type DescribedPacket,
  type Judgement,
  type ModelInput,
  prepareModel,
  type RuleReference,
} from "../kinds/firewall/model.ts";
export { protocolName } from "../kinds/firewall/ports.ts";
