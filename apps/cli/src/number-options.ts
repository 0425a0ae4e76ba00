/** Parsers of option values for commander. */
import { InvalidArgumentError } from "commander";

export function wholeNumber(min: number, max: number) {
  return (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

/** Above `min`, and at most `max`. */
export function realNumber(min: number, max: number) {
  return (text: string): number => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (value > min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a number above ${min} and up to ${max}.`);
  };
}
