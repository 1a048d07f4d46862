// The chosen colours, before anything is drawn: "light", "dark", or nothing, which is what the system says.
(() => {
  try {
    const theme = localStorage.getItem("slm.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // a browser that keeps nothing shows what the system says
  }
})();
