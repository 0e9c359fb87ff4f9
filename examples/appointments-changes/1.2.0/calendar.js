const NAMES = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov'];

/** The free appointments of a month, 1 to 12. */
export function appointmentsIn(month) {
  const days = new Date(Date.UTC(2026, month, 0)).getUTCDate();
  const free = [];
  for (let day = 1; day <= days; day += 1) {
    const weekday = new Date(Date.UTC(2026, month - 1, day)).getUTCDay();
    if (weekday !== 0 && weekday !== 6) free.push(day);
  }
  return { month, name: NAMES[month - 1].trim(), free };
}
