// Runs before the first paint, so that a dark page never flashes white.
(function () {
  var stored = null;
  try { stored = localStorage.getItem('bascule-theme'); } catch (e) { /* storage may be off */ }
  var dark = stored ? stored === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.setAttribute('data-bs-theme', dark ? 'dark' : 'light');
})();
