import cytoscape from "cytoscape";

// cytoscape writes a <style> into the page (its container's `position: relative`) unless an element of this name is
// there. The pages' policy refuses such a style, and the console's stylesheet positions the container.
const stylesheet = "__________cytoscape_stylesheet";
if (!document.getElementById(stylesheet)) {
  const stand_in = document.createElement("meta");
  stand_in.id = stylesheet;
  document.head.append(stand_in);
}

export default cytoscape;
