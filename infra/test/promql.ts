/** What a PromQL expression uses: its metrics, with the labels that it matches, and the labels that it groups by. */
import { parser } from "@prometheus-io/lezer-promql";

export interface Expression {
  metrics: { name: string; labels: string[] }[];
  /** In by (…), on (…), group_left (…). */
  grouping: string[];
}

/** Throws when the text is not PromQL. */
export function parseExpression(text: string): Expression {
  // Grafana's variable stands where a duration does.
  const expr = text.replaceAll("$__rate_interval", "1m");
  const found: Expression = { metrics: [], grouping: [] };
  parser.parse(expr).iterate({
    enter(node) {
      const content = expr.slice(node.from, node.to);
      if (node.type.isError) throw new Error(`not PromQL at "${expr.slice(node.from, node.from + 20)}": ${text}`);
      if (node.name === "VectorSelector") {
        const name = node.node.getChild("Identifier");
        if (!name) throw new Error(`a selector without a metric's name: ${text}`);
        found.metrics.push({ name: expr.slice(name.from, name.to), labels: [] });
      }
      if (node.name !== "LabelName") return;
      if (node.matchContext(["LabelMatchers", "UnquotedLabelMatcher"])) found.metrics.at(-1)?.labels.push(content);
      else found.grouping.push(content);
    },
  });
  if (found.metrics.length === 0) throw new Error(`an expression without a metric: ${text}`);
  return found;
}
