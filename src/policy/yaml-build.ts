// The YAML library's nodes to plain values and positions, in one walk. Aliases are resolved here, so that what
// they unfold to counts against the limits.
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  visit,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";
import type { PolicyCode } from "./codes.ts";
import type { Report } from "./findings.ts";
import { describeTooDeep, describeTooLarge, describeTooWide, type PolicyLimits } from "./limits.ts";
import type { PositionNode } from "./positions.ts";
import type { RawDocument } from "./raw.ts";
import type { LongList, ShortenedText } from "./yaml-long-lists.ts";

interface Built {
  readonly value: unknown;
  readonly positions: PositionNode;
  /** How many levels of lists and mappings are in the value. */
  readonly height: number;
}

interface Anchored extends Built {
  readonly items: number;
  readonly fields: number;
}

export interface BuildContext {
  readonly shortened: ShortenedText;
  readonly limits: PolicyLimits;
  readonly report: Report;
}

interface Builder extends BuildContext {
  readonly anchors: Map<string, Anchored>;
  readonly lists: ReadonlyMap<string, LongList>;
  items: number;
  fields: number;
  hasErrors: boolean;
  /** A value is missing: judging the document would only find consequences. */
  isBroken: boolean;
}

/** Ends the walk; it never leaves this file. */
class BuildStop extends Error {}

/** Builds one document; undefined if it holds too much or too little, which has been reported then. */
export function buildDocument(root: Node, context: BuildContext): RawDocument | undefined {
  const lists = new Map(context.shortened.lists.map((list) => [list.marker, list]));
  const builder: Builder = {
    ...context,
    anchors: new Map(),
    lists,
    items: 0,
    fields: 0,
    hasErrors: false,
    isBroken: false,
  };
  try {
    const { value, positions } = build(builder, root, 1);
    return builder.isBroken ? undefined : { value, positions, hasErrors: builder.hasErrors };
  } catch (error) {
    if (error instanceof BuildStop) return undefined;
    throw error;
  }
}

/** Marks the long lists of a document that cannot be built, because of its errors. */
export function takeLists(document: Document, shortened: ShortenedText): void {
  visit(document, {
    Seq(_key, seq) {
      for (const item of seq.items) {
        const list = shortened.lists.find(({ marker }) => isScalar(item) && item.value === marker);
        if (list !== undefined) list.taken = true;
      }
    },
  });
}

function build(builder: Builder, node: Node, depth: number): Built {
  if (node.tag !== undefined) {
    const message = `Tags such as ${node.tag.replace("tag:yaml.org,2002:", "!!")} are not allowed; remove it, and put the value in quotes if it is a text`;
    refuse(builder, "yaml-tag", node, message);
  }
  if (isAlias(node)) return buildAlias(builder, node, depth);
  const before = { items: builder.items, fields: builder.fields };
  const built = buildPlain(builder, node, depth);
  if ("anchor" in node && typeof node.anchor === "string") {
    const items = builder.items - before.items;
    const fields = builder.fields - before.fields;
    builder.anchors.set(node.anchor, { ...built, items, fields });
  }
  return built;
}

function buildPlain(builder: Builder, node: Node, depth: number): Built {
  if (isSeq<Node>(node)) return buildList(builder, node, depth);
  if (isMap<Node, Node | null>(node)) return buildMapping(builder, node, depth);
  const positions = builder.shortened.originalOffset(startOfNode(node));
  return { value: isScalar(node) ? node.value : null, positions, height: 0 };
}

function buildAlias(builder: Builder, node: Alias, depth: number): Built {
  const found = builder.anchors.get(node.source);
  const at = builder.shortened.originalOffset(startOfNode(node));
  if (found === undefined) {
    builder.isBroken = true;
    refuse(builder, "yaml-alias", node, `There is no anchor "&${node.source}" before this`);
    return { value: null, positions: at, height: 0 };
  }
  if (depth + found.height - 1 > builder.limits.depthMax) stop(builder, "too-deep", node);
  count(builder, node, { items: found.items, fields: found.fields });
  const positions = typeof found.positions === "number" ? at : { ...found.positions, at };
  return { value: found.value, positions, height: found.height };
}

function buildList(builder: Builder, node: YAMLSeq<Node>, depth: number): Built {
  if (depth > builder.limits.depthMax) stop(builder, "too-deep", node);
  const values: unknown[] = [];
  const items: PositionNode[] = [];
  let height = 1;
  for (const item of node.items) {
    const list = isScalar(item) && typeof item.value === "string" ? builder.lists.get(item.value) : undefined;
    if (list === undefined) {
      count(builder, item, { items: 1, fields: 0 });
      const built = build(builder, item, depth + 1);
      values.push(built.value);
      items.push(built.positions);
      height = Math.max(height, built.height + 1);
    } else {
      list.taken = true;
      count(builder, item, { items: list.values.length, fields: 0 });
      for (const value of list.values) values.push(value);
      for (const offset of list.offsets) items.push(offset);
    }
  }
  const at = builder.shortened.originalOffset(startOfNode(node));
  return { value: values, positions: { at, items }, height };
}

function buildMapping(builder: Builder, node: YAMLMap<Node, Node | null>, depth: number): Built {
  if (depth > builder.limits.depthMax) stop(builder, "too-deep", node);
  const value: Record<string, unknown> = {};
  const keys: string[] = [];
  const keysAt: number[] = [];
  const values: PositionNode[] = [];
  let height = 1;
  for (const pair of node.items) {
    const key = readKey(builder, pair.key, keys);
    if (key === undefined) continue;
    count(builder, pair.key, { items: 0, fields: 1 });
    if (keys.length >= builder.limits.fieldsMax)
      stop(builder, "too-large", pair.key, describeTooWide(builder.limits));
    const keyAt = builder.shortened.originalOffset(startOfNode(pair.key));
    const built: Built =
      pair.value === null
        ? { value: null, positions: keyAt, height: 0 }
        : build(builder, pair.value, depth + 1);
    // Defined, not assigned: "__proto__" is a field like any other, and unknown.
    Object.defineProperty(value, key, {
      value: built.value,
      writable: true,
      enumerable: true,
      configurable: true,
    });
    keys.push(key);
    keysAt.push(keyAt);
    values.push(built.positions);
    height = Math.max(height, built.height + 1);
  }
  const at = builder.shortened.originalOffset(startOfNode(node));
  return { value, positions: { at, keys, keysAt, values }, height };
}

/** The field's name; undefined for a merge key, which is left out. */
function readKey(builder: Builder, node: Node, earlier: readonly string[]): string | undefined {
  const key = isScalar(node) && typeof node.value === "string" ? node.value : String(node);
  if (node.tag !== undefined) refuse(builder, "yaml-tag", node, "Tags are not allowed; remove it");
  if (key === "<<" && isScalar(node) && node.type === "PLAIN") {
    refuse(builder, "yaml-merge-key", node, 'Merge keys ("<<") are not allowed; write the fields out');
    return undefined;
  }
  if (earlier.includes(key)) {
    refuse(
      builder,
      "duplicate-key",
      node,
      `${JSON.stringify(key)} is here for the second time; remove one of the two`,
    );
  }
  return key;
}

function count(builder: Builder, node: Node, { items, fields }: { items: number; fields: number }): void {
  builder.items += items;
  builder.fields += fields;
  const { itemsMax } = builder.limits;
  if (builder.items > itemsMax || builder.fields > itemsMax) stop(builder, "too-large", node);
}

function refuse(builder: Builder, code: PolicyCode, node: Node, message: string): void {
  builder.hasErrors = true;
  builder.report(code, startOfNode(node), message);
}

function stop(builder: Builder, code: "too-large" | "too-deep", node: Node, message?: string): never {
  const describe = code === "too-large" ? describeTooLarge : describeTooDeep;
  builder.report(code, startOfNode(node), message ?? describe(builder.limits));
  throw new BuildStop();
}

/** An offset in the shortened text. */
function startOfNode(node: Node): number {
  return node.range?.[0] ?? 0;
}
