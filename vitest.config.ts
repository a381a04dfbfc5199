// The four kinds of test. `unit` and `style` need nothing; `kernel` and `e2e` need root and BPF and share the
// machine's network namespaces and bpffs, so their files run one after another. scripts/test.sh finds out
// whether these can run here, and sets WITHOUT_KERNEL_TESTS if not.
import { defineConfig } from "vitest/config";

const withoutKernel = process.env["WITHOUT_KERNEL_TESTS"] === "1";

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: "unit", include: ["test/unit/**/*.test.ts"] } },
      { extends: true, test: { name: "style", include: ["test/style/**/*.test.ts"] } },
      ...(withoutKernel ? [] : [kernelBound("kernel", 1), kernelBound("e2e", 2)]),
    ],
  },
});

/** A project of its own turn, whose files run one after another. */
function kernelBound(name: string, turn: number) {
  return {
    extends: true as const,
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      setupFiles: ["test/record-worker.ts"],
      pool: "forks" as const,
      fileParallelism: false,
      testTimeout: 60_000,
      hookTimeout: 60_000,
      sequence: { groupOrder: turn },
    },
  };
}
