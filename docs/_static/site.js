// From disk a browser reads no other page, so results of a search come without their excerpts there.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// A formula wider than a phone scrolls, by keyboard too.
addEventListener("load", () => window.MathJax?.startup?.promise.then(() => {
  for (const formula of document.querySelectorAll("mjx-container[display]")) formula.tabIndex = 0;
}));
