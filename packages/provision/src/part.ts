/** What set-up says about one native part. */
export interface Part {
  /** Such as `tensorflow`, `redis`. */
  name: string;
  /** What is used and why, in one line. */
  detail: string;
  /** True when this call downloaded, compiled or checked something, so that the time it took is worth a word. */
  worked: boolean;
}
