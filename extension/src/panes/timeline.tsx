import * as React from 'react';

import { useSize } from '../components/hooks';
import { duration, millis } from '../format';
import { Colours, labelsOf, lanesOf, rangeOf, rectangles, ticks } from '../lanes';
import { PanelModel } from '../model';
import { t, tn } from '../text';
import type { ISpan, ITimeline } from '../types';
import { Document, IPaneProps, Name } from './common';

const LANE = 18;
const AXIS = 16;
const COLOURS = 6;
/** About as wide is a letter of a label. */
const LETTER = 5.6;

/** What ran where and when: one row per process. */
export function TimelinePane(props: IPaneProps): JSX.Element {
  return (
    <Document model={props.model} topic="timeline">
      {timeline =>
        timeline.spans.length === 0 ? (
          <p className="rj-Hint">{t('Nothing has run yet.')}</p>
        ) : (
          <Lanes model={props.model} timeline={timeline} maxHeight={props.maxHeight} />
        )
      }
    </Document>
  );
}

function Lanes(props: { model: PanelModel; timeline: ITimeline; maxHeight?: number }): JSX.Element {
  const { spans, total } = props.timeline;
  const box = React.useRef<HTMLDivElement>(null);
  const [seconds, setSeconds] = React.useState<number | null>(60);
  const [chosen, setChosen] = React.useState<ISpan | null>(null);
  const outer = Math.max(160, (useSize(box).width || 304) - 24);
  const now = props.model.serverTime;
  const range = rangeOf(spans, now, seconds);
  const lanes = React.useMemo(() => lanesOf(spans), [spans]);
  const inView = lanes.filter(lane => lane.spans.some(span => (span.end ?? now) >= range.start));
  const [colours] = React.useState(() => new Colours(COLOURS));
  const names = colours.see(inView, range, now);
  const labels = labelsOf(inView);
  const gutter = Math.min(outer * 0.4, Math.max(...labels.map(label => label.length)) * LETTER + 8);
  const width = outer - gutter;
  const height = AXIS + inView.length * LANE;
  return (
    <div ref={box} className="rj-Timeline" data-rayjup="timeline">
      <div className="rj-Line">
        <select
          aria-label={t('How much is shown')}
          value={String(seconds)}
          onChange={event => setSeconds(event.target.value === 'null' ? null : Number(event.target.value))}
        >
          <option value="10">{t('last 10 seconds')}</option>
          <option value="60">{t('last minute')}</option>
          <option value="600">{t('last 10 minutes')}</option>
          <option value="null">{t('everything')}</option>
        </select>
        <span className="rj-mod-quiet">{tn('%1 call', '%1 calls', total)}</span>
      </div>
      <Legend names={names} colours={colours} />
      <div className="rj-Timeline-scroll" style={{ maxHeight: props.maxHeight }}>
        <svg
          width={outer}
          height={height}
          role="img"
          aria-label={t('%1 calls in %2 processes over %3', total, inView.length, duration(range.end - range.start))}
        >
          {ticks(range).map(([at, label]) => (
            <text
              key={label}
              className="rj-Timeline-tick"
              x={Math.min(gutter + (at / (range.end - range.start)) * width, outer - label.length * LETTER)}
              y={11}
            >
              {label}
            </text>
          ))}
          {inView.map((lane, row) => (
            <g key={lane.place} transform={`translate(0, ${AXIS + row * LANE})`}>
              <title>{lane.place}</title>
              <svg width={gutter - 6} height={LANE} className="rj-Timeline-label" data-rayjup="lane">
                <text y={11}>{labels[row]}</text>
              </svg>
              <rect className="rj-Timeline-lane" x={gutter} width={width} height={LANE - 3} />
              {rectangles(lane, range, width, now).map(({ x, width: wide, span, count }) => (
                <rect
                  key={span.key}
                  className={`rj-Timeline-span ${tone(colours.of(span.name))}${
                    span.state === 'FAILED' ? ' rj-mod-failed' : ''
                  }${span.end === null ? ' rj-mod-running' : ''}`}
                  x={gutter + x}
                  width={wide}
                  height={LANE - 3}
                  onClick={() => setChosen(span)}
                >
                  <title>{`${span.name}${count > 1 ? ` × ${count}` : ''} · ${length(span, now)}`}</title>
                </rect>
              ))}
            </g>
          ))}
        </svg>
      </div>
      {chosen && (
        <p className="rj-Hint" role="status">
          <strong>{chosen.name}</strong> · {chosen.place} · {length(chosen, now)} · {chosen.state.toLowerCase()}
        </p>
      )}
      {props.timeline.warning && <p className="rj-Hint">{props.timeline.warning}</p>}
    </div>
  );
}

function tone(colour: number | null): string {
  return colour === null ? 'rj-mod-other' : `rj-mod-colour${colour}`;
}

/** Which colour is which function. */
function Legend(props: { names: string[]; colours: Colours }): JSX.Element {
  const { colours, names } = props;
  const named = names.filter(name => colours.of(name) !== null);
  const others = names.length - named.length;
  return (
    <ul className="rj-Legend" aria-label={t('Functions')} data-rayjup="legend">
      {[...named, ...(others > 0 ? [null] : [])].map(name => (
        <li key={name} title={name ?? undefined}>
          <svg width={9} height={9} aria-hidden="true">
            <rect className={`rj-Timeline-span ${tone(name === null ? null : colours.of(name))}`} width={9} height={9} />
          </svg>
          {name === null ? tn('%1 other', '%1 others', others) : <Name text={name} />}
        </li>
      ))}
    </ul>
  );
}

function length(span: ISpan, now: number): string {
  return millis(((span.end ?? now) - span.start) * 1000);
}
