// The stable codes of this stage's findings. Each has its cause and remedy in docs/diagnostics.md.

export const policyCodes = [
  // The file
  "not-utf8",
  "control-character",
  "ignored-file",
  "too-large",
  "too-deep",
  "json-syntax",
  "yaml-syntax",
  "yaml-alias",
  "yaml-merge-key",
  "yaml-tag",
  "yaml-version",
  "duplicate-key",
  "empty-document",
  "too-many-findings",
  // The document
  "unknown-version",
  "unknown-kind",
  "unknown-field",
  "missing-field",
  "wrong-type",
  "not-allowed",
  "out-of-range",
  "too-short",
  "too-long",
  "too-few",
  "too-many",
  "duplicate-item",
  "duplicate-name",
  "invalid-document",
  // Texts of a fixed form
  "bad-country",
  "bad-cron",
  "bad-date",
  "bad-interface",
  "bad-name",
  "bad-path",
  "bad-port",
  "bad-ref",
  "bad-text",
  "bad-url",
  "bad-variable",
  // The agent's configuration
  "conflicting-fields",
] as const;

export type PolicyCode = (typeof policyCodes)[number];
