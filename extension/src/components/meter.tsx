import * as React from 'react';

/**
 * A labelled bar with its number. `value` is a share between 0 and 1.
 *
 * Set `scarce` where a full bar means trouble: memory running out does, a busy processor does not.
 */
export function Meter(props: {
  label: string;
  value: number;
  text: string;
  title?: string;
  scarce?: boolean;
}): JSX.Element {
  const { label, value, text, title, scarce } = props;
  const tone = !scarce || value < 0.85 ? '' : value < 0.95 ? ' rj-mod-high' : ' rj-mod-full';
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
