// Dragging on the board, by mouse anywhere on a card, by finger on its grip. What is dropped is sent as the buttons
// of the card would send it, and the server's answer is drawn; without this file the buttons do the same.
'use strict';
(function () {
  var FAR = 6; // pixels after which a press is a drag
  var EDGE = 48; // pixels from an edge at which the view scrolls along
  var drag = null;

  function board() { return document.getElementById('board'); }

  document.addEventListener('pointerdown', function (event) {
    var card = event.target.closest('.kanban-card[data-move]');
    if (!card || drag || event.button !== 0) return;
    if (event.target.closest('button,input,select')) return;
    if (event.pointerType !== 'mouse' && !event.target.closest('.kanban-grip')) return;
    drag = { card: card, x: event.clientX, y: event.clientY, pointer: event.pointerId, on: false };
  });

  function begin() {
    var card = drag.card;
    var box = card.getBoundingClientRect();
    drag.on = true;
    drag.home = card.parentNode;
    drag.next = card.nextElementSibling;
    drag.dx = drag.x - box.left;
    drag.dy = drag.y - box.top;
    drag.ghost = card.cloneNode(true);
    drag.ghost.removeAttribute('id');
    drag.ghost.querySelectorAll('[id]').forEach(function (element) { element.removeAttribute('id'); });
    drag.ghost.className += ' kanban-ghost';
    drag.ghost.style.width = box.width + 'px';
    document.body.appendChild(drag.ghost);
    document.body.classList.add('is-dragging');
    card.classList.add('is-dragged');
  }

  function scrollAlong(event) {
    var columns = board() && board().querySelector('.kanban');
    if (columns) {
      var box = columns.getBoundingClientRect();
      if (event.clientX > box.right - EDGE) columns.scrollLeft += 12;
      if (event.clientX < box.left + EDGE) columns.scrollLeft -= 12;
    }
    if (event.clientY > window.innerHeight - EDGE) window.scrollBy(0, 12);
    if (event.clientY < EDGE) window.scrollBy(0, -12);
  }

  function target(column) {
    document.querySelectorAll('.kanban-column.is-target').forEach(function (other) {
      if (other !== column) other.classList.remove('is-target');
    });
    if (column) column.classList.add('is-target');
  }

  document.addEventListener('pointermove', function (event) {
    if (!drag || event.pointerId !== drag.pointer) return;
    if (!drag.on) {
      if (Math.abs(event.clientX - drag.x) < FAR && Math.abs(event.clientY - drag.y) < FAR) return;
      begin();
    }
    event.preventDefault();
    drag.ghost.style.left = event.clientX - drag.dx + 'px';
    drag.ghost.style.top = event.clientY - drag.dy + 'px';
    scrollAlong(event);
    var under = document.elementFromPoint(event.clientX, event.clientY);
    var column = under && under.closest('.kanban-column');
    target(column);
    if (!column) return;
    var list = column.querySelector('ol');
    var before = null;
    list.querySelectorAll('.kanban-card').forEach(function (other) {
      if (before || other === drag.card) return;
      var box = other.getBoundingClientRect();
      if (event.clientY < box.top + box.height / 2) before = other;
    });
    if (drag.card.parentNode !== list || drag.card.nextElementSibling !== before) list.insertBefore(drag.card, before);
  }, { passive: false });

  function end(drop) {
    var done = drag;
    drag = null;
    if (!done || !done.on) return;
    done.ghost.remove();
    document.body.classList.remove('is-dragging');
    done.card.classList.remove('is-dragged');
    target(null);
    var swallow = function (event) { event.preventDefault(); event.stopPropagation(); };
    document.addEventListener('click', swallow, { capture: true, once: true });
    setTimeout(function () { document.removeEventListener('click', swallow, true); }, 0);
    var list = done.card.parentNode;
    if (!drop || (list === done.home && done.card.nextElementSibling === done.next)) {
      done.home.insertBefore(done.card, done.next);
      return;
    }
    var column = list.closest('.kanban-column').getAttribute('data-column');
    var values = { view: board().getAttribute('data-view') };
    if (list !== done.home) values.to = column;
    var below = done.card.nextElementSibling;
    var above = done.card.previousElementSibling;
    // Closed issues stand in the order in which they were closed.
    if (column !== 'done') {
      if (below) values.before = below.getAttribute('data-reference');
      else if (above) values.after = above.getAttribute('data-reference');
    }
    if (list === done.home && !values.before && !values.after) {
      done.home.insertBefore(done.card, done.next);
      return;
    }
    htmx.ajax('POST', done.card.getAttribute('data-move'), { target: '#board', swap: 'outerHTML settle:0ms', values: values });
  }

  document.addEventListener('pointerup', function (event) { if (drag && event.pointerId === drag.pointer) end(true); });
  document.addEventListener('pointercancel', function (event) { if (drag && event.pointerId === drag.pointer) end(false); });
  document.addEventListener('keydown', function (event) { if (event.key === 'Escape') end(false); });
  document.addEventListener('dragstart', function (event) { if (event.target.closest && event.target.closest('.kanban-card')) event.preventDefault(); });

  // The board is not drawn anew under a card that is being dragged, nor while what it says of a refusal is read.
  document.addEventListener('htmx:beforeRequest', function (event) {
    var config = event.detail.requestConfig;
    if (config.verb !== 'get' || event.detail.elt.id !== 'board') return;
    if ((drag && drag.on) || document.hidden) event.preventDefault();
  });
  document.addEventListener('htmx:beforeSwap', function (event) {
    if (event.detail.target.id === 'board' && drag && drag.on) event.detail.shouldSwap = false;
  });
  // The focus stays on the card that was moved by its buttons, also when the button that was pressed is of no use
  // there any more; what came of it is told to those who do not see it.
  var moved = null;
  document.addEventListener('htmx:beforeRequest', function (event) {
    if (event.detail.requestConfig.verb !== 'post') return;
    var card = event.target.closest && event.target.closest('.kanban-card');
    moved = card && card.contains(document.activeElement) ? card.id : null;
  });
  document.addEventListener('htmx:afterSwap', function (event) {
    var shown = board();
    var said = document.getElementById('board-said');
    if (!shown || !said || !event.detail.requestConfig || event.detail.requestConfig.verb !== 'post') return;
    var card = moved && document.getElementById(moved);
    if (card && !card.contains(document.activeElement)) {
      var next = card.querySelector('.kanban-buttons button:not(:disabled)') || card.querySelector('a');
      if (next) next.focus();
    }
    if (card && card.scrollIntoView) card.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    moved = null;
    // Emptied first: the same words twice are told twice.
    said.textContent = '';
    setTimeout(function () { said.textContent = shown.getAttribute('data-said') || ''; }, 50);
  });
  // A move that did not arrive is drawn back.
  ['htmx:sendError', 'htmx:responseError'].forEach(function (name) {
    document.addEventListener(name, function (event) {
      if (event.detail.requestConfig.verb === 'post' && board()) window.location.reload();
    });
  });
})();
