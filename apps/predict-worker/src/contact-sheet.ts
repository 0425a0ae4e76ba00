/** The contact sheet of a job: made in the compute process, where images are decoded; a job never fails for it. */
import type { ContactSheetTask } from "@cardinal/contracts";
import type { ComputeProcess } from "@cardinal/queue";
import type { Logger } from "@cardinal/service";

/** `images`: rows that get a cell; 0 makes no sheets. The function throws nothing but the signal's reason. */
export function contactSheets(compute: ComputeProcess, logger: Logger, images: number) {
  return async (task: Omit<ContactSheetTask, "images">, signal: AbortSignal): Promise<void> => {
    if (images === 0) return;
    try {
      await compute.run("contact-sheet", { ...task, images }, { signal });
    } catch (error) {
      signal.throwIfAborted();
      logger.warn({ job: task.job, err: error }, "the job gets no contact sheet");
    }
  };
}
