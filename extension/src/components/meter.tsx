import * as React from 'react';

/** A labelled bar with its number. `value` is a share between 0 and 1. */
export function Meter(props: { label: string; value: number; text: string; title?: string }): JSX.Element {
  const { label, value, text, title } = props;
  const tone = value >= 0.95 ? ' rj-mod-full' : value >= 0.8 ? ' rj-mod-high' : '';
  return (
    <div className="rj-Meter" title={title}>
      <span className="rj-Meter-label">{label}</span>
      <div
        className="rj-Meter-track"
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(value * 100)}
        aria-valuetext={text}
      >
        <div className={`rj-Meter-fill${tone}`} style={{ width: `${(value * 100).toFixed(1)}%` }} />
      </div>
      <span className="rj-Meter-text" data-rayjup={`meter-${label.toLowerCase()}`}>
        {text}
      </span>
    </div>
  );
}
