// Notes the process id of each test worker, by which scripts/test.sh knows what its own run has made: what tests
// make outside of TMPDIR carries the id of its maker in its name.
import { appendFileSync } from "node:fs";

const file = process.env["PENSTOCK_TEST_WORKERS"];
if (file !== undefined) appendFileSync(file, `${process.pid}\n`);
