/** Which rows of a long list are drawn, and where a key leads. Pure functions. */

export interface IWindow {
  /** The first row that is drawn. */
  first: number;
  /** The row behind the last one that is drawn. */
  end: number;
  /** Height of what is left out above and below, in pixels. */
  above: number;
  below: number;
}

/** Rows to be drawn of `count`, with some beyond the edges so that scrolling shows no gaps. */
export function windowOf(
  count: number,
  rowHeight: number,
  scrollTop: number,
  height: number,
  spare = 8
): IWindow {
  const first = Math.max(0, Math.min(count, Math.floor(scrollTop / rowHeight)) - spare);
  const end = Math.min(count, Math.ceil((scrollTop + height) / rowHeight) + spare);
  return {
    first: Math.min(first, end),
    end,
    above: Math.min(first, end) * rowHeight,
    below: (count - end) * rowHeight
  };
}

/** The row to which a key leads from row `at`; null for keys that lead nowhere. */
export function rowAfter(key: string, at: number, count: number, page: number): number | null {
  const moves: { [key: string]: number } = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    PageDown: at + page,
    PageUp: at - page,
    Home: 0,
    End: count - 1
  };
  if (!(key in moves) || count === 0) {
    return null;
  }
  return Math.max(0, Math.min(count - 1, moves[key]));
}

/** How far to scroll so that a row is to be seen. */
export function scrollTo(row: number, rowHeight: number, scrollTop: number, height: number): number {
  const top = row * rowHeight;
  if (top < scrollTop) {
    return top;
  }
  return top + rowHeight > scrollTop + height ? top + rowHeight - height : scrollTop;
}

/** Rows by a column: numbers by size, texts in their natural order, what is missing last. */
export function sorted<T>(rows: T[], value: (row: T) => unknown, ascending: boolean): T[] {
  const sign = ascending ? 1 : -1;
  return rows
    .map((row, index) => ({ row, index, value: value(row) }))
    .sort((a, b) => {
      const missing = Number(isMissing(a.value)) - Number(isMissing(b.value));
      if (missing || isMissing(a.value)) {
        return missing || a.index - b.index;
      }
      const order =
        typeof a.value === 'number' && typeof b.value === 'number'
          ? a.value - b.value
          : String(a.value).localeCompare(String(b.value), undefined, { numeric: true });
      return order * sign || a.index - b.index;
    })
    .map(entry => entry.row);
}

function isMissing(value: unknown): boolean {
  return value === null || value === undefined || (typeof value === 'number' && Number.isNaN(value));
}
