/** A step of the Dockerfile: the native half of tfjs-node, into CARDINAL_CACHE_DIR. */
import path from "node:path";
import { ensureTensorflow } from "@cardinal/provision";

const part = await ensureTensorflow(path.join(import.meta.dirname, "../.."));
console.log(`${part.name}: ${part.detail}`);
