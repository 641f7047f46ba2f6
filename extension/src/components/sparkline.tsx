import * as React from 'react';

import { number } from '../format';
import { t } from '../text';

/** The course of a number as a small line, with its first and last value for those who cannot see it. */
export function Sparkline(props: { values: number[]; width?: number; height?: number }): JSX.Element | null {
  const { width = 64, height = 16 } = props;
  const values = props.values.filter(Number.isFinite);
  if (values.length < 2) {
    return null;
  }
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const points = values
    .map((value, index) => {
      const x = 1 + (index / (values.length - 1)) * (width - 2);
      return `${x.toFixed(1)},${(height - 1.5 - ((value - low) / span) * (height - 3)).toFixed(1)}`;
    })
    .join(' ');
  const label = t('from %1 to %2', number(values[0]), number(values[values.length - 1]));
  return (
    <svg className="rj-Spark" width={width} height={height} role="img" aria-label={label}>
      <polyline points={points} />
    </svg>
  );
}
