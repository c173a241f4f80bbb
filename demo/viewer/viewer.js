const TALLEST = 640, LARGEST_ZOOM = 16, CLICK = 4, STEP = 1.25;
const find = (selector) => element.querySelector(selector);
const viewer = find(".viewer"), stage = find(".stage"), divider = find(".divider"), mark = find(".mark");
const images = [find(".before img"), find(".after img")];
let size = [1, 1], scale = 1, left = 0, top_ = 0, split = 0.5, picked = null, shown = "";

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const box = () => stage.getBoundingClientRect();
const fitted = () => Math.min(stage.clientWidth / size[0], stage.clientHeight / size[1]);
const actual = () => 1 / window.devicePixelRatio;

function draw() {
  const width = stage.clientWidth, height = stage.clientHeight;
  if (!width || !height) return;
  const least = fitted();
  scale = clamp(scale, Math.min(least, actual()), Math.max(LARGEST_ZOOM * actual(), least));
  const place = (offset, room, length) => (length <= room ? (room - length) / 2 : clamp(offset, room - length, 0));
  left = place(left, width, size[0] * scale);
  top_ = place(top_, height, size[1] * scale);
  for (const image of images) {
    image.style.width = `${size[0]}px`;
    image.style.height = `${size[1]}px`;
    image.style.transform = `translate(${left}px, ${top_}px) scale(${scale})`;
  }
  stage.classList.toggle("zoomed", scale > least * 1.001);
  stage.classList.toggle("pixels", scale >= 2 * actual());
  const at = split * width;
  find(".after").style.clipPath = `inset(0 0 0 ${at}px)`;
  divider.style.left = `${at}px`;
  divider.setAttribute("aria-valuenow", Math.round(100 * split));
  mark.hidden = !picked;
  if (picked) {
    mark.style.left = `${left + (picked.column + 0.5) * scale}px`;
    mark.style.top = `${top_ + (picked.row + 0.5) * scale}px`;
  }
  find(".scale").textContent = `${Math.round((100 * scale) / actual())} %`;
  find(".where").textContent = picked ? `row ${picked.row}, column ${picked.column}` : "";
}

function zoomTo(wanted, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const before = scale, least = fitted();
  scale = clamp(wanted, Math.min(least, actual()), Math.max(LARGEST_ZOOM * actual(), least));
  left = x - ((x - left) * scale) / before;
  top_ = y - ((y - top_) * scale) / before;
  draw();
}

function pick(x, y) {
  const column = Math.floor((x - left) / scale), row = Math.floor((y - top_) / scale);
  if (column < 0 || row < 0 || column >= size[0] || row >= size[1]) return;
  picked = { row, column };
  draw();
  trigger("pick", picked);
}

function layOut() {
  if (document.fullscreenElement !== viewer) {
    stage.style.height = `${Math.min(TALLEST, (stage.clientWidth * size[1]) / size[0])}px`;
  }
  draw();
}

function show() {
  const value = props.value || null;
  viewer.hidden = !value;
  if (!value) {
    images.forEach((image) => image.removeAttribute("src"));
    shown = "";
    picked = null;
    return;
  }
  // the same photo keeps its zoom and the picked pixel when only what was made of it has changed
  const photo = `${value.width}x${value.height}`;
  const isNew = shown !== photo;
  shown = photo;
  size = [value.width, value.height];
  picked = value.pixel || (isNew ? null : picked);
  [value.before, value.after].forEach((file, i) => {
    if (images[i].getAttribute("src") !== file.url) images[i].src = file.url;
  });
  find(".tag.left").textContent = value.before_label;
  find(".tag.right").textContent = value.after_label;
  if (isNew) {
    split = 0.5;
    stage.style.height = `${TALLEST}px`;
    layOut();
    scale = fitted();
  }
  layOut();
}

const DO = {
  in: () => zoomTo(scale * STEP * STEP),
  out: () => zoomTo(scale / STEP / STEP),
  fit: () => zoomTo(fitted()),
  actual: () => zoomTo(actual()),
  full: () => (document.fullscreenElement ? document.exitFullscreen() : viewer.requestFullscreen?.()),
};
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "actual", f: "full" };
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

find(".tools").addEventListener("click", (event) => DO[event.target.closest("[data-do]")?.dataset.do]?.());

stage.addEventListener("keydown", (event) => {
  if (event.target !== stage || event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = ARROWS[event.key];
  if (arrow) {
    left += arrow[0] * (event.shiftKey ? 200 : 40);
    top_ += arrow[1] * (event.shiftKey ? 200 : 40);
    draw();
  } else if (event.key === "Enter") pick(stage.clientWidth / 2, stage.clientHeight / 2);
  else if (KEYS[event.key]) DO[KEYS[event.key]]();
  else return;
  event.preventDefault();
});

divider.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.2, PageUp: 0.2, Home: -1, End: 1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  split = clamp(split + step, 0, 1);
  draw();
});

stage.addEventListener("wheel", (event) => {
  // a page that is scrolled past the photo is not held up by it
  if (!event.ctrlKey && document.activeElement !== stage && !document.fullscreenElement) return;
  event.preventDefault();
  zoomTo(scale * Math.exp(-clamp(event.deltaY, -100, 100) / 300), event.clientX - box().left, event.clientY - box().top);
}, { passive: false });

const pointers = new Map();
let travelled = 0, apart = 0, dragging = false;

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  dragging = divider.contains(event.target);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  stage.setPointerCapture(event.pointerId);
  if (pointers.size === 1) travelled = 0;
  apart = 0;
});

stage.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const now = [event.clientX, event.clientY], outer = box();
  const [dx, dy] = [now[0] - last[0], now[1] - last[1]];
  pointers.set(event.pointerId, now);
  travelled += Math.hypot(dx, dy);
  if (dragging) {
    split = clamp((now[0] - outer.left) / outer.width, 0, 1);
    draw();
  } else if (pointers.size === 2) {
    const [one, other] = [...pointers.values()];
    const distance = Math.hypot(one[0] - other[0], one[1] - other[1]);
    if (apart) zoomTo((scale * distance) / apart, (one[0] + other[0]) / 2 - outer.left, (one[1] + other[1]) / 2 - outer.top);
    apart = distance;
    travelled = Infinity;
  } else if (stage.classList.contains("zoomed")) {
    stage.classList.add("moving");
    left += dx;
    top_ += dy;
    draw();
  }
});

function release(event) {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  pointers.delete(event.pointerId);
  stage.classList.remove("moving");
  if (event.type === "pointerup" && !dragging && travelled < CLICK) pick(last[0] - box().left, last[1] - box().top);
  if (!pointers.size) dragging = false;
}
stage.addEventListener("pointerup", release);
stage.addEventListener("pointercancel", release);

new ResizeObserver(() => {
  const wasFitted = !stage.classList.contains("zoomed");
  layOut();
  if (wasFitted) {
    scale = fitted();
    draw();
  }
}).observe(stage);

watch("value", show);
show();
