"""How the app looks: theme, styles, and the small scripts of its page."""

from __future__ import annotations

from typing import Any

import gradio as gr

CSS = """
.gradio-container > main { max-width: 1180px !important; margin: 0 auto; }
.note p { font-size: var(--text-sm); color: var(--neutral-600); }
.dark .note p { color: var(--neutral-400); }
#examples .grid-wrap { padding: 0; min-height: 0; height: auto; }
#examples .gallery-container, #examples { min-height: 0; height: auto; }
#examples .grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)); padding: 0; }
#examples .caption-label {
    left: 0; right: 0; bottom: 0; max-width: none; padding: 2px 0;
    border: 0; border-radius: 0; text-align: center; font-size: 11px;
}
#before-after, #before-after .html-container { padding: 0; }
#defocus-map img { max-height: 640px; object-fit: contain; }
#kernel img { max-height: 360px; object-fit: contain; }
#program .cm-editor { font-size: 12px; }
footer .divider { display: none; }
"""

SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "Menlo", "Consolas", "monospace"]
# White on the theme's own button colour is too faint to read easily.
THEME = gr.themes.Default(primary_hue="teal", neutral_hue="zinc", font=SYSTEM_FONTS, font_mono=MONO_FONTS).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_600",
)

LOOK: dict[str, Any] = {
    "theme": THEME,
    "css": CSS,
    "footer_links": ["api", "settings"],
    "run_history": False,
    "ssr_mode": False,
}

# On a phone the result lies below what is on the screen. What a script returns goes to the function behind it: nothing.
SHOW_RESULT = """
() => {
  document.getElementById("before-after").scrollIntoView({ behavior: "smooth", block: "nearest" });
  return [];
}
"""

# The page of a Space shows the address of its frame only if it is told.
KEEP_SETTINGS = """
(...values) => {
  const query = new URLSearchParams(window.location.search);
  ["model", "precision", "strength", "terms"].forEach((name, i) => query.set(name, values[i]));
  window.history.replaceState(null, "", `${window.location.pathname}?${query}`);
  if (window.parent !== window) window.parent.postMessage({ queryString: query.toString() }, "https://huggingface.co");
}
"""
COPY_LINK = """
async () => {
  const button = document.getElementById("copy-link");
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(window.location.href);
    button.textContent = "Copied";
  } catch {
    window.prompt("The link to these settings", window.location.href);
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}
"""
SWITCH_DARK = """
() => {
  document.body.classList.toggle("dark");
  document.body.style.background = "var(--body-background-fill)";
}
"""
