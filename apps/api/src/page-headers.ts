/** Headers of an answer that a browser shows as a page. */
import { PAGE_POLICY } from "@cardinal/report/contact-sheet";
import type { Response } from "express";

/**
 * Nothing runs, nothing is loaded, and the sandbox gives the page an origin of its own. So it must not ask for the
 * address's origin as helmet has all answers do: browsers complain of that.
 */
export function asPage(response: Response): void {
  response.set("Content-Security-Policy", PAGE_POLICY);
  response.removeHeader("Origin-Agent-Cluster");
}
