import { CardinalError } from "@cardinal/contracts";

/** What a reading gives, or undefined when there is no such object. */
export async function orAbsent<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof CardinalError && error.code === "object_not_found") return undefined;
    throw error;
  }
}
