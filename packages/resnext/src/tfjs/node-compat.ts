/**
 * What tfjs-node 4.22 needs of its process before it is imported; imported first, for its effects only.
 *
 * - It calls util.isNullOrUndefined, which Node 23 removed, and util.isArray, which Node warns of.
 * - libtensorflow logs its instruction set and thread choices unless TF_CPP_MIN_LOG_LEVEL says otherwise. (One line
 *   about oneDNN remains on stderr with libtensorflow 2.21: it is written before that variable is looked at.)
 */
import util from "node:util";

const legacy = util as { isNullOrUndefined?: (value: unknown) => boolean; isArray: (value: unknown) => boolean };
legacy.isNullOrUndefined ??= (value) => value === null || value === undefined;
legacy.isArray = Array.isArray;
process.env.TF_CPP_MIN_LOG_LEVEL ??= "2";
