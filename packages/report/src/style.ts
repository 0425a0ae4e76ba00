/** The style of all pages. Colours are variables, which the charts use, too. */
export const style = `
:root {
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1b1f27; --quiet: #5c6572; --rule: #dfe3e8;
  --first: #2f6db5; --second: #b8621b; --bad: #c2384a; --warn-panel: #fdf3e1; --warn-rule: #e0a63f;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --panel: #1d2128; --ink: #e6e9ee; --quiet: #9aa4b2; --rule: #323943;
    --first: #6ea8ea; --second: #e69a5b; --bad: #ef7583; --warn-panel: #33290f; --warn-rule: #a97d22;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 76rem;
  background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
header { margin-bottom: 1.75rem; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.75rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--rule); font-size: 1.15rem; }
h3 { margin: 1.25rem 0 .5rem; font-size: 1rem; }
p { margin: .4rem 0; max-width: 46rem; }
.quiet, small { color: var(--quiet); }
small { font-size: .82rem; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.warn { padding: .6rem .9rem; border-left: 4px solid var(--warn-rule); background: var(--warn-panel); max-width: 60rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.tile { padding: .7rem .9rem; border-radius: 8px; background: var(--panel); }
.tile b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.25; }
.tile span { color: var(--quiet); font-size: .82rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1.25rem 2rem; margin-top: 1rem; }
.row > * { min-width: 0; }
.chart { width: 100%; }
.chart svg { display: block; width: 100%; height: auto; pointer-events: none; }
figure { margin: 0; }
figcaption { margin: 0 0 .3rem; font-weight: 600; font-size: .92rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--quiet); font-weight: 500; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
meter { width: 6rem; height: .6rem; vertical-align: middle; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 45%), 1fr)); gap: 1rem; padding: 0; margin: 1rem 0; list-style: none; }
.cell { min-width: 0; font-size: .86rem; line-height: 1.35; overflow-wrap: anywhere; break-inside: avoid; }
.picture { display: flex; align-items: center; justify-content: center; aspect-ratio: 1; margin-bottom: .4rem; padding: .25rem;
  border-radius: 8px; background: var(--panel); color: var(--quiet); text-align: center; overflow: hidden; }
.picture img { width: 100%; height: 100%; object-fit: contain; border-radius: 5px; }
.picture img.tiny { image-rendering: pixelated; }
.cell.failed .picture, .cell .wrong { color: var(--bad); }
.cell b { font-weight: 600; }
.cell small { display: block; }
@media print {
  @page { margin: 14mm; }
  body { padding: 0; max-width: none; font-size: 10.5pt; }
  .grid { grid-template-columns: repeat(5, 1fr); }
  figure, .tile, tr, .chart, .warn { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .tile, .picture { border: 1px solid var(--rule); print-color-adjust: exact; }
}
`;
