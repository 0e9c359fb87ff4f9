// Small behaviours that pages ask for by attribute. Every page works without them.
'use strict';
(function () {
  // --- Theme -------------------------------------------------------------------------------------------
  document.addEventListener('click', function (event) {
    var button = event.target.closest('[data-theme-toggle]');
    if (!button) return;
    event.preventDefault();
    var root = document.documentElement;
    var next = root.getAttribute('data-bs-theme') === 'dark' ? 'light' : 'dark';
    root.setAttribute('data-bs-theme', next);
    try { localStorage.setItem('bascule-theme', next); } catch (e) { /* storage may be off */ }
    charts.forEach(function (chart) { chart.restyle(); });
  });

  // --- Copy buttons: <button data-copy="text"> ----------------------------------------------------------
  document.addEventListener('click', function (event) {
    var button = event.target.closest('[data-copy]');
    if (!button || !navigator.clipboard) return;
    navigator.clipboard.writeText(button.getAttribute('data-copy')).then(function () {
      button.classList.add('copied');
      setTimeout(function () { button.classList.remove('copied'); }, 1200);
    });
  });

  // --- Confirmation: <form data-confirm="Abort the rollout?"> -------------------------------------------
  document.addEventListener('submit', function (event) {
    var text = event.target.getAttribute('data-confirm');
    if (text && !window.confirm(text)) { event.preventDefault(); return; }
    var button = event.target.querySelector('button[type=submit],button:not([type])');
    if (button) { button.classList.add('btn-loading'); }
  });

  // --- Relative times: <time datetime="…"> ----------------------------------------------------------------
  var units = [['year', 31536000], ['month', 2592000], ['week', 604800], ['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
  var relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  function times(root) {
    root.querySelectorAll('time[data-relative]').forEach(function (element) {
      var seconds = (Date.parse(element.dateTime) - Date.now()) / 1000;
      for (var i = 0; i < units.length; i++) {
        if (Math.abs(seconds) >= units[i][1] || units[i][0] === 'second') {
          element.textContent = relative.format(Math.round(seconds / units[i][1]), units[i][0]);
          return;
        }
      }
    });
  }
  setInterval(function () { times(document); }, 10000);

  // --- Streams: <div data-stream="/…/log/events" data-depth="0" data-follow> ----------------------------------------------
  // Each message is HTML that the server has escaped; its id is where to go on after a cut.
  function streams(root) {
    root.querySelectorAll('[data-stream]').forEach(function (element) {
      if (element.dataset.streaming) return;
      element.dataset.streaming = 'yes';
      var source = new EventSource(element.getAttribute('data-stream'));
      var follow = element.hasAttribute('data-follow');
      window.addEventListener('wheel', function (e) { if (e.deltaY < 0) follow = false; }, { passive: true });
      // Sections may begin in one message and end in another: lines go into the innermost that is open.
      var into = element;
      for (var depth = Number(element.getAttribute('data-depth') || 0); depth > 0 && into.lastElementChild; depth--) into = into.lastElementChild;
      function add(html) {
        html.split(/(<details [^>]*><summary>[\s\S]*?<\/summary>|(?:<i data-took="[^"]*"><\/i>)?<\/details>|<i data-return><\/i>)/).forEach(function (part) {
          if (part.indexOf('<details ') === 0) {
            into.insertAdjacentHTML('beforeend', part + '</details>');
            into = into.lastElementChild;
          } else if (/<\/details>$/.test(part)) {
            if (into === element) return;
            var took = /data-took="([^"]*)"/.exec(part);
            if (took) { var said = document.createElement('span'); said.className = 'section-took'; said.textContent = took[1]; into.querySelector('summary').appendChild(said); }
            into = into.parentElement;
          } else if (part.indexOf('<i data-return>') === 0) {
            // What comes next is written over the line, as on a terminal.
            while (into.lastChild && !(into.lastChild.matches && into.lastChild.matches('.line,.ts,details,summary'))) into.removeChild(into.lastChild);
          } else if (part) {
            into.insertAdjacentHTML('beforeend', part);
          }
        });
        // A page that grew for hours would slow the browser down; what is gone is on the pages before.
        while (element.childNodes.length > 40000 && element.firstChild !== into) element.removeChild(element.firstChild);
      }
      source.onmessage = function (event) {
        add(event.data);
        var atEnd = window.innerHeight + window.scrollY > document.body.scrollHeight - 200;
        if (atEnd) follow = element.hasAttribute('data-follow');
        if (follow) window.scrollTo(0, document.body.scrollHeight);
      };
      source.addEventListener('reset', function () { element.textContent = ''; into = element; });
      source.addEventListener('done', function () {
        source.close();
        if (element.hasAttribute('data-reload-when-done')) window.location.reload();
      });
    });
  }

  // --- Charts: <div data-chart="/…/series.json" data-every="2000"> ------------------------------------------
  // The address answers with an ECharts option.
  var charts = [];
  function draw(root) {
    root.querySelectorAll('[data-chart]').forEach(function (element) {
      if (element.dataset.drawn || typeof echarts === 'undefined') return;
      element.dataset.drawn = 'yes';
      var chart = null, option = null, timer = null;
      function theme() { return document.documentElement.getAttribute('data-bs-theme') === 'dark' ? 'dark' : null; }
      function show() {
        if (!option) return;
        if (!chart) chart = echarts.init(element, theme(), { renderer: 'canvas' });
        option.backgroundColor = 'transparent';
        option.animation = false;
        chart.setOption(option, { notMerge: true });
      }
      function load() {
        if (!document.body.contains(element)) { clearInterval(timer); return; }
        fetch(element.getAttribute('data-chart'), { headers: { accept: 'application/json' } })
          .then(function (answer) { return answer.ok ? answer.json() : Promise.reject(answer.status); })
          .then(function (next) { option = next; show(); })
          .catch(function () { if (!option) element.textContent = 'The chart could not be loaded; the table holds its numbers.'; });
      }
      charts.push({ restyle: function () { if (chart) { chart.dispose(); chart = null; } show(); } });
      window.addEventListener('resize', function () { if (chart) chart.resize(); });
      load();
      var every = Number(element.getAttribute('data-every') || 0);
      if (every) timer = setInterval(load, Math.max(every, 500));
    });
  }

  // --- Keyboard: "/" searches, "?" helps, "g" and a letter goes --------------------------------------------
  var waiting = false;
  document.addEventListener('keydown', function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input,textarea,select,[contenteditable]')) return;
    if (waiting) {
      waiting = false;
      var link = document.querySelector('[data-key="' + CSS.escape(event.key) + '"]');
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (event.key === 'g') { waiting = true; setTimeout(function () { waiting = false; }, 1500); }
    if (event.key === '/') {
      var field = document.querySelector('input[type=search]');
      if (field) { event.preventDefault(); field.focus(); }
    }
  });

  // --- Rows by keyboard: arrows go from the search to the rows of <table data-rows>, and from row to row ----------
  document.addEventListener('keydown', function (event) {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    var search = event.target.closest('input[type=search]');
    var row = event.target.closest('[data-rows] tbody tr');
    if (!search && !row) return;
    var rows = Array.prototype.slice.call(document.querySelectorAll('[data-rows] tbody tr'));
    var at = (row ? rows.indexOf(row) : -1) + (event.key === 'ArrowDown' ? 1 : -1);
    if (search && event.key === 'ArrowUp') return;
    var next = at < 0 ? document.querySelector('input[type=search]') : rows[at] && rows[at].querySelector('a');
    if (next) { event.preventDefault(); next.focus(); }
  });

  // --- Tabs: on a narrow page the row scrolls; the tab one is on is in sight ------------------------------------
  function tabs() {
    document.querySelectorAll('.subnav a[aria-current], .topbar nav a[aria-current]').forEach(function (tab) {
      var row = tab.parentElement;
      row.scrollLeft = tab.offsetLeft - row.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
    });
  }

  // --- Graphs: the lines of the card that one points at or is on stand out --------------------------------------
  function lit(event) {
    var card = event.target.closest && event.target.closest('[data-card]');
    document.querySelectorAll('.graph').forEach(function (graph) {
      var inside = card && graph.contains(card);
      graph.classList.toggle('has-lit', !!inside);
      graph.querySelectorAll('.graph-lines path').forEach(function (path) {
        var number = inside ? card.getAttribute('data-card') : null;
        path.classList.toggle('lit', number !== null && (path.getAttribute('data-from') === number || path.getAttribute('data-to') === number));
      });
    });
  }
  document.addEventListener('focusin', lit);
  document.addEventListener('mouseover', function (event) { if (document.querySelector('.graph')) lit(event); });

  // --- What is open stays open when a part of the page is replaced: <details id data-kept> ----------------------
  var opened = [];
  document.addEventListener('htmx:beforeSwap', function () {
    opened = Array.prototype.map.call(document.querySelectorAll('details[data-kept][open]'), function (element) { return element.id; });
  });
  document.addEventListener('htmx:afterSwap', function () {
    opened.forEach(function (id) { var element = document.getElementById(id); if (element) element.open = true; });
  });
  // One list at a time; Escape closes it.
  document.addEventListener('toggle', function (event) {
    if (!event.target.matches('.job-group details') || !event.target.open) return;
    document.querySelectorAll('.job-group details[open]').forEach(function (other) { if (other !== event.target) other.open = false; });
  }, true);
  document.addEventListener('keydown', function (event) {
    if (event.key !== 'Escape') return;
    document.querySelectorAll('.job-group details[open]').forEach(function (element) { element.open = false; element.querySelector('summary').focus(); });
  });

  function enhance(root) { times(root); streams(root); draw(root); }
  document.addEventListener('DOMContentLoaded', function () { enhance(document); tabs(); });
  document.addEventListener('htmx:afterSwap', function (event) { enhance(event.target); });
})();
