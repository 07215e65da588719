// Dependencies drawn: keys, properties, objects and instances from left to right. The list beside a drawing says the same.
const colours = { key: "--busy", properties: "--act", object: "--good", instances: "--idle" };
const drawn = new Map();
let cytoscape = null;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function columns(data) {
  // A node stands one column behind the furthest of those that lead to it; what goes round in a circle stays where it is.
  const column = new Map(data.nodes.map((node) => [node.id, 0]));
  for (let round = 0; round < data.nodes.length; round += 1) {
    let moved = false;
    for (const [from, to] of data.edges) {
      const wanted = column.get(from) + 1;
      if (wanted > column.get(to) && wanted < data.nodes.length) { column.set(to, wanted); moved = true; }
    }
    if (!moved) break;
  }
  // What nothing leads to stands right before the first that it leads to, so that its arrow crosses nobody.
  const led = new Set(data.edges.map(([, to]) => to));
  for (const { id } of data.nodes) {
    const next = data.edges.filter(([from]) => from === id).map(([, to]) => column.get(to));
    if (!led.has(id) && next.length) column.set(id, Math.max(0, Math.min(...next) - 1));
  }
  return column;
}

function elements(data) {
  const column = columns(data);
  const rows = new Map();
  const tall = new Map();
  for (const at of column.values()) tall.set(at, (tall.get(at) ?? 0) + 1);
  const most = Math.max(1, ...tall.values());
  const nodes = data.nodes.map((node) => {
    const at = column.get(node.id);
    const row = rows.get(at) ?? 0;
    rows.set(at, row + 1);
    const gap = most / tall.get(at);
    return { data: { id: node.id, label: short(node), kind: node.kind }, position: { x: at * 210, y: (row + 0.5) * gap * 56 } };
  });
  const far = ([from, to]) => column.get(to) - column.get(from) > 1;
  return [...nodes, ...data.edges.map((edge) => ({ data: { source: edge[0], target: edge[1] }, classes: far(edge) ? "far" : "" }))];
}

function heights(data) {
  const tall = new Map();
  for (const at of columns(data).values()) tall.set(at, (tall.get(at) ?? 0) + 1);
  return [1, ...tall.values()];
}

function short(node) {
  return node.label.split("\n").map((line) => (line.length > 26 ? `…${line.slice(-25)}` : line)).join("\n");
}

function style() {
  const kinds = Object.entries(colours).map(([kind, name]) => ({ selector: `node[kind = "${kind}"]`, style: { "border-color": colour(name) } }));
  return [
    { selector: "node", style: { label: "data(label)", shape: "round-rectangle", width: 170, height: 40, "background-color": colour("--sheet"), "border-width": 2, color: colour("--ink"), "font-size": 12, "text-valign": "center", "text-halign": "center", "text-wrap": "wrap", "text-max-width": 160 } },
    ...kinds,
    { selector: 'node[kind = "key"]', style: { shape: "rectangle" } },
    { selector: 'node[kind = "instances"]', style: { shape: "ellipse", width: 70 } },
    { selector: "edge", style: { width: 1.5, "line-color": colour("--dim"), "target-arrow-color": colour("--dim"), "target-arrow-shape": "triangle", "curve-style": "bezier" } },
    { selector: "edge.far", style: { "curve-style": "unbundled-bezier", "control-point-distances": [-44], "control-point-weights": [0.5] } }, // over what stands between
  ];
}

async function draw(box) {
  const source = document.getElementById(box.dataset.graph);
  const text = source?.textContent ?? "";
  const known = drawn.get(box);
  if (known?.text === text) return;
  known?.picture.destroy();
  const data = JSON.parse(text || '{"nodes": [], "edges": []}');
  const filled = { nodes: data.nodes ?? [], edges: data.edges ?? [] };
  box.hidden = filled.nodes.length === 0;
  if (box.hidden) { drawn.delete(box); return; }
  const rows = Math.max(...heights(filled));
  box.style.height = `${Math.min(Math.max(rows * 56 + 60, 130), 560)}px`; // through the CSSOM, which the policy lets pass
  cytoscape ??= (await import("../vendor/graph.js")).default;
  const picture = cytoscape({
    container: box, elements: elements(filled), style: style(), layout: { name: "preset", padding: 12, fit: true },
    userZoomingEnabled: false, boxSelectionEnabled: false, autoungrabify: true, maxZoom: 1.1, minZoom: 0.1,
  });
  drawn.set(box, { text, picture });
  box.dataset.drawn = String(picture.nodes().length);
}

function all() {
  for (const [box, { picture }] of drawn) if (!box.isConnected) { picture.destroy(); drawn.delete(box); }
  for (const box of document.querySelectorAll("[data-graph]")) draw(box);
}

new MutationObserver(() => { for (const { picture } of drawn.values()) picture.style(style()); })
  .observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
addEventListener("resize", () => { for (const { picture } of drawn.values()) { picture.resize(); picture.fit(undefined, 12); } });
document.addEventListener("herz:fresh", all);
all();
