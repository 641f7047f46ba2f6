/** Making the newest version of a document from the one before. The Python side is `rayjup.observe.changes`. */

import type { IChange } from './types';

/** `old` with a change made to it; what has not changed is the very same object, so React can pass it over. */
export function applied(old: any, change: IChange): any {
  const column = change.rows;
  const table = new Map<string, any>(
    column === undefined ? Object.entries(old) : (old as any[]).map(row => [String(row[column]), row])
  );
  for (const key of change.drop ?? []) {
    table.delete(key);
  }
  for (const [key, part] of Object.entries(change.change ?? {})) {
    table.set(key, applied(table.get(key), part));
  }
  for (const [key, value] of Object.entries(change.set ?? {})) {
    table.set(key, value);
  }
  if (column === undefined) {
    return Object.fromEntries(table);
  }
  return change.order ? change.order.map(key => table.get(key)) : [...table.values()];
}
