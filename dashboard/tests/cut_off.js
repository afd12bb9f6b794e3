/* For test_browser_french.py: what of a page's words cannot be read. Texts and choices that stand outside the box that
   shows them, labels of charts that leave their drawing or lie on each other, a page that scrolls sideways. Names that
   are shortened on purpose (.clip) and boxes that scroll by themselves lose nothing. */
() => {
  const lost = new Set();
  const APART = "svg, .clip, .top-name, script, style, noscript, option";
  const CONTROL = "button, .button, .badge, .chip, th, td, dt, dd, summary, label, a";
  const ARROW = 18;
  const isOutside = (inner, outer) => inner.right > outer.right + 1 || inner.left < outer.left - 1;
  const overlap = (one, other) => one.left < other.right - 1 && other.left < one.right - 1
    && one.top < other.bottom - 2 && other.top < one.bottom - 2;

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const words = node.data.trim();
    const parent = node.parentElement;
    if (!words || parent.closest(APART) || !parent.checkVisibility({ visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const text = range.getBoundingClientRect();
    for (let box = parent; box && box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      if (style.clipPath !== "none" || /auto|scroll/.test(style.overflowX)) break;
      const shows = /hidden|clip/.test(style.overflowX) || (box.matches(CONTROL) && style.display !== "inline");
      if (shows && isOutside(text, box.getBoundingClientRect())) lost.add(`${box.className || box.tagName}: ${words}`);
    }
  }

  const pen = document.createElement("canvas").getContext("2d");
  /* [name=with] lists deployments by their branches. */
  for (const select of document.querySelectorAll("select:not([name=with])")) {
    const style = getComputedStyle(select);
    const room = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - ARROW;
    const chosen = select.selectedOptions[0]?.text ?? "";
    pen.font = style.font;
    if (select.checkVisibility() && pen.measureText(chosen).width > room) lost.add(`select: ${chosen}`);
  }

  for (const svg of document.querySelectorAll("svg")) {
    /* What may overflow stands in the margin of its panel: the labels at both ends of an axis. */
    const drawing = getComputedStyle(svg).overflow === "visible" ? svg.closest(".panel, main, body") : svg;
    const labels = [...svg.querySelectorAll("text")].filter((label) => label.textContent.trim())
      .map((label) => ({ words: label.textContent, box: label.getBoundingClientRect() }));
    labels.forEach(({ words, box }, place) => {
      if (isOutside(box, drawing.getBoundingClientRect())) lost.add(`svg: ${words}`);
      for (const other of labels.slice(place + 1)) if (overlap(box, other.box)) lost.add(`svg: ${words} on ${other.words}`);
    });
  }

  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) lost.add("scrolls sideways");
  return [...lost];
}
