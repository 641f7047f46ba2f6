import * as React from 'react';

import { rowAfter, scrollTo, sorted, windowOf } from '../window';
import { useSize } from './hooks';

const ROW = 24;

export interface IColumn<T> {
  key: string;
  title: string;
  /** What is shown; by default the value. */
  render?: (row: T) => React.ReactNode;
  /** By what rows are sorted; a column without it cannot be sorted by. */
  value?: (row: T) => unknown;
  /** As in `grid-template-columns`. */
  width: string;
  number?: boolean;
  /** Left out where the table is narrow. */
  optional?: boolean;
  tooltip?: (row: T) => string;
}

/**
 * A table of any length, of which only the rows in view are in the page.
 *
 * One row has the focus: arrows, Page Up and Down, Home and End move it, Enter opens it. Screen
 * readers are told how many rows there are and which one it is.
 */
export function VirtualTable<T>(props: {
  label: string;
  name: string;
  rows: T[];
  columns: IColumn<T>[];
  rowKey: (row: T) => string;
  /** By which column rows are sorted at first: `name`, or `-name` for the largest first. */
  order?: string;
  onOpen?: (row: T) => void;
  isSelected?: (row: T) => boolean;
  /** Height in pixels beyond which the table scrolls. */
  maxHeight?: number;
}): JSX.Element {
  const { columns, label, onOpen, rowKey } = props;
  const id = React.useId();
  const body = React.useRef<HTMLDivElement>(null);
  const [order, setOrder] = React.useState(props.order ?? '');
  const [active, setActive] = React.useState<string | null>(null);
  const [top, setTop] = React.useState(0);
  const { width, height: measured } = useSize(body);
  const height = measured || (props.maxHeight ?? 320);

  const ascending = !order.startsWith('-');
  const by = columns.find(column => column.key === order.replace(/^-/, ''));
  const rows = React.useMemo(
    () => (by?.value ? sorted(props.rows, by.value, ascending) : props.rows),
    [props.rows, by?.key, ascending]
  );

  const shown = columns.filter(column => !column.optional || width === 0 || width > 380);
  const grid = { gridTemplateColumns: shown.map(column => column.width).join(' ') };
  const at = active === null ? -1 : rows.findIndex(row => rowKey(row) === active);
  const { first, end, above, below } = windowOf(rows.length, ROW, top, height);

  const onKeyDown = (event: React.KeyboardEvent): void => {
    if (event.key === 'Enter' && at >= 0 && onOpen) {
      event.preventDefault();
      onOpen(rows[at]);
      return;
    }
    const next = rowAfter(event.key, at, rows.length, Math.max(1, Math.floor(height / ROW) - 1));
    if (next === null) {
      return;
    }
    event.preventDefault();
    setActive(rowKey(rows[next]));
    if (body.current) {
      body.current.scrollTop = scrollTo(next, ROW, body.current.scrollTop, height);
    }
  };

  return (
    <div className="rj-Grid" role="grid" aria-label={label} aria-rowcount={rows.length + 1} data-rayjup={props.name}>
      <div className="rj-Grid-head" role="row" aria-rowindex={1} style={grid}>
        {shown.map(column => (
          <div
            key={column.key}
            role="columnheader"
            className={column.number ? 'rj-mod-number' : ''}
            aria-sort={column !== by ? undefined : ascending ? 'ascending' : 'descending'}
          >
            {column.value ? (
              <button
                className="rj-Grid-sort"
                onClick={() => setOrder(order === column.key ? `-${column.key}` : column.key)}
              >
                {column.title}
                {column === by && <span aria-hidden="true">{ascending ? ' ▴' : ' ▾'}</span>}
              </button>
            ) : (
              column.title
            )}
          </div>
        ))}
      </div>
      <div
        ref={body}
        className="rj-Grid-body"
        role="rowgroup"
        tabIndex={0}
        aria-label={label}
        aria-activedescendant={at >= first && at < end ? `${id}${at}` : undefined}
        style={{ maxHeight: props.maxHeight }}
        onKeyDown={onKeyDown}
        onScroll={event => setTop(event.currentTarget.scrollTop)}
      >
        <div style={{ height: above }} />
        {rows.slice(first, end).map((row, offset) => {
          const key = rowKey(row);
          const index = first + offset;
          const selected = props.isSelected?.(row);
          return (
            <div
              key={key}
              id={`${id}${index}`}
              role="row"
              aria-rowindex={index + 2}
              aria-selected={selected}
              className={`rj-Grid-row${index === at ? ' rj-mod-active' : ''}${selected ? ' rj-mod-selected' : ''}`}
              style={grid}
              onClick={() => {
                setActive(key);
                onOpen?.(row);
              }}
            >
              {shown.map(column => (
                <div
                  key={column.key}
                  role="gridcell"
                  className={column.number ? 'rj-mod-number' : ''}
                  title={column.tooltip?.(row)}
                >
                  {column.render ? column.render(row) : String(column.value?.(row) ?? '–')}
                </div>
              ))}
            </div>
          );
        })}
        <div style={{ height: below }} />
      </div>
    </div>
  );
}
