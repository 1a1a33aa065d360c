"""The style of the graph on a page, which sets its colours as custom properties; see ``ON_PAGE`` in ``looks``."""

STYLE = """
.mk-graph { color: var(--mk-ink); background: var(--mk-paper); font: 0.875rem/1.35 system-ui, sans-serif; }
.mk-graph * { box-sizing: border-box; }
.mk-tools { display: flex; flex-wrap: wrap; gap: 0.5rem; margin: 0 0 0.75rem; }
.mk-tools[hidden] { display: none; }
.mk-tools button {
  font: inherit; color: var(--mk-ink); background: var(--mk-paper); border: 1px solid var(--mk-line);
  border-radius: 0.4rem; padding: 0.3rem 0.8rem; cursor: pointer;
}
.mk-key { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; margin: 0 0 0.75rem; padding: 0; list-style: none; }
.mk-key li { display: flex; align-items: center; gap: 0.4rem; font-size: 0.8125rem; }
.mk-key svg { flex: none; margin: 0; overflow: visible; }
.mk-graph .mk-scroll { overflow-x: auto; padding: 0.5rem 0.25rem 3.5rem; }
.mk-level { position: relative; width: max-content; margin: 0 auto; }
.mk-graph .mk-lines {
  position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; pointer-events: none;
}
.mk-rows { position: relative; display: grid; row-gap: 2.25rem; margin: 0; padding: 0; list-style: none; }
.mk-rows > li { display: flex; align-items: center; justify-content: center; padding: 0 0.6rem; min-width: 0; }
.mk-rows > .mk-spacer { padding: 0; width: 1.75rem; justify-self: center; }
.mk-node, .mk-box, .mk-pill {
  color: var(--mk-ink); background: var(--mk-paper);
  border: 1.25px solid var(--mk-own, var(--mk-line)); border-radius: 0.45rem;
}
.mk-node { max-width: 17rem; }
.mk-creates, .mk-uses, .mk-passes { --mk-own: var(--mk-mask); }
.mk-changes { --mk-own: var(--mk-other); }
.mk-drops { --mk-own: var(--mk-lost); }
.mk-computes { --mk-own: var(--mk-accent); }
.mk-none { --mk-own: var(--mk-line); }
:is(.mk-node, .mk-box).mk-creates { border: 4px double var(--mk-own); }
:is(.mk-node, .mk-box):is(.mk-uses, .mk-changes) { border-width: 2px; }
:is(.mk-node, .mk-box).mk-drops { border-width: 3.5px; }
:is(.mk-node, .mk-box).mk-computes { border-style: dotted; border-width: 2px; }
.mk-node:is(.mk-creates, .mk-uses, .mk-changes, .mk-drops) {
  background: color-mix(in srgb, var(--mk-own) 11%, var(--mk-paper));
}
.mk-box { background: color-mix(in srgb, var(--mk-line) 5%, var(--mk-paper)); }
.mk-box:not([open]) { box-shadow: 3px 3px 0 -1px var(--mk-paper), 3px 3px 0 0 var(--mk-own); }
.mk-box > .mk-level { padding: 0.9rem 0.6rem 1rem; }
.mk-box > .mk-level > .mk-lines { inset: 0.9rem 0.6rem 1rem; width: auto; height: auto; }
.mk-graph summary {
  position: relative; padding: 0.35rem 0.7rem; border-radius: 0.3rem; list-style: none; cursor: pointer;
}
.mk-graph summary::-webkit-details-marker { display: none; }
.mk-graph :is(summary, button, .mk-scroll):focus-visible { outline: 3px solid var(--mk-accent); outline-offset: 2px; }
.mk-head { display: grid; grid-template-columns: auto minmax(0, 1fr); column-gap: 0.55rem; align-items: center; }
.mk-sign { grid-row: 1 / span 2; align-self: start; margin-top: 0.5rem; overflow: visible; color: var(--mk-own); }
.mk-name { font-weight: 650; overflow-wrap: anywhere; }
.mk-say { grid-column: 2; font-size: 0.78rem; color: var(--mk-muted); overflow-wrap: anywhere; }
.mk-say b { font-weight: 600; color: var(--mk-own); }
.mk-none > summary .mk-say b { color: var(--mk-ink); font-weight: 400; }
.mk-count, .mk-size { grid-column: 2; font-size: 0.78rem; color: var(--mk-muted); }
.mk-count::before { content: "\\25B8\\00A0"; }
[open] > summary .mk-count::before { content: "\\25BE\\00A0"; }
.mk-count .mk-alarm { color: var(--mk-lost); font-weight: 600; }
.mk-pill { border-radius: 2rem; padding: 0.25rem 0.9rem; max-width: 17rem; overflow-wrap: anywhere; }
.mk-pill span { color: var(--mk-muted); font-size: 0.78rem; }
.mk-port { width: 0.6rem; height: 0.6rem; border-radius: 50%; background: var(--mk-line); }
.mk-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.mk-tip {
  display: none; position: absolute; z-index: 3; top: calc(100% + 0.35rem); left: 0; width: max-content;
  max-width: 16rem; padding: 0.35rem 0.6rem; border-radius: 0.35rem; font-size: 0.78rem; font-weight: 400;
  color: var(--mk-paper); background: var(--mk-ink); overflow-wrap: anywhere;
}
summary:hover > .mk-tip, summary:focus-visible > .mk-tip { display: block; }
.mk-node[open] > summary > .mk-tip { display: none; }
.mk-rows > li:is(:hover, :focus-within) { z-index: 2; }
.mk-facts { margin: 0; padding: 0.2rem 0.7rem 0.5rem; max-width: 17rem; font-size: 0.78rem; }
.mk-facts dt { color: var(--mk-muted); }
.mk-facts dd { margin: 0 0 0.25rem; overflow-wrap: anywhere; }
.mk-more { width: max-content; max-width: 17rem; margin: 0 0.2rem; font-size: 0.78rem; color: var(--mk-muted); }
.mk-more > summary { padding: 0.1rem 0.5rem; text-decoration: underline; }
.mk-line { fill: none; stroke: var(--mk-own-line); transition: opacity 0.15s; }
.mk-graph .mk-lines g { --mk-own-line: var(--mk-line); }
.mk-graph .mk-lines .mk-mask, .mk-key .mk-mask { --mk-own-line: var(--mk-mask); stroke-width: 4; }
.mk-graph .mk-lines .mk-lost, .mk-key .mk-lost {
  --mk-own-line: var(--mk-lost); stroke-width: 2; stroke-dasharray: 7 5;
}
.mk-graph .mk-lines .mk-plain, .mk-key .mk-plain { --mk-own-line: var(--mk-line); stroke-width: 1.25; }
.mk-graph .mk-lines .mk-argument, .mk-key .mk-argument {
  --mk-own-line: var(--mk-accent); stroke-width: 2.5; stroke-dasharray: 0.5 5; stroke-linecap: round;
}
.mk-arrow { fill: var(--mk-own-line); stroke: none; }
.mk-graph .mk-lines text {
  fill: var(--mk-accent); stroke: var(--mk-paper); stroke-width: 4px; stroke-dasharray: none; paint-order: stroke;
  stroke-linejoin: round; font: 0.72rem system-ui, sans-serif;
}
.mk-graph .mk-lines.mk-some g:not(.mk-on) { opacity: 0.25; }
.mk-graph .mk-lines .mk-on .mk-line { stroke-dashoffset: 0; }
@media (prefers-reduced-motion: no-preference) {
  .mk-graph .mk-lines .mk-on.mk-mask .mk-line { stroke-dasharray: 14 3; animation: mk-flow 0.6s linear infinite; }
}
@keyframes mk-flow { from { stroke-dashoffset: 17; } to { stroke-dashoffset: 0; } }
@media (max-width: 40rem) {
  .mk-node, .mk-pill, .mk-facts, .mk-more { max-width: 12rem; }
  .mk-box > .mk-level { padding-inline: 0.1rem; }
  .mk-box > .mk-level > .mk-lines { inset-inline: 0.1rem; }
  .mk-rows > li { padding: 0 0.3rem; }
  .mk-rows > .mk-spacer { width: 1.25rem; }
}
@media print {
  .mk-tools { display: none; }
  .mk-more { visibility: hidden; } /* Lines are drawn before, and stay where they are. */
  .mk-graph .mk-scroll { overflow: visible; padding: 0; }
  .mk-node, .mk-pill { break-inside: avoid; }
  .mk-graph * { print-color-adjust: exact; }
}
"""
