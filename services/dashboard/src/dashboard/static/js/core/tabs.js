/** The views as tabs after the WAI-ARIA pattern: one stop for Tab, arrows between them, Enter or Space opens. */

/** @param {HTMLElement} list the element with role tablist */
export function setUpTabs(list) {
  list.addEventListener("keydown", (event) => {
    const tabs = [...list.querySelectorAll("[role=tab]")].filter((tab) => tab.offsetParent);
    const at = tabs.indexOf(document.activeElement);
    if (at < 0) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      tabs[(to + tabs.length) % tabs.length].focus();
    } else if (event.key === " ") {
      event.preventDefault();
      document.activeElement.click();
    }
  });
}

/** Show which view is open. @param {string} view */
export function markTab(list, view) {
  for (const tab of list.querySelectorAll("[role=tab]")) {
    const chosen = tab.id === `tab-${view}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
}
