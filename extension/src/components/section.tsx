import * as React from 'react';

/** A part of the live view that can be folded. */
export function Section(props: {
  title: string;
  count: number;
  children: React.ReactNode;
}): JSX.Element {
  return (
    <details className="rj-Section" open data-rayjup={`section-${props.title.toLowerCase()}`}>
      <summary className="rj-Section-title">
        {props.title}
        <span className="rj-Section-count">{props.count}</span>
      </summary>
      {props.children}
    </details>
  );
}

/** "… and 9800 more", when the server sent only some of the rows. */
export function More(props: { shown: number; total: number }): JSX.Element | null {
  const more = props.total - props.shown;
  return more > 0 ? <p className="rj-More">… and {more} more</p> : null;
}
