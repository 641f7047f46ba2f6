import * as React from 'react';

import { Shown } from '../components/hooks';
import { reasonOf } from '../format';
import { follow, ILog, lines } from '../logtext';
import { PanelModel } from '../model';
import { t, tn } from '../text';
import type { IClusterSummary } from '../types';
import { windowOf } from '../window';
import { Document, IPaneProps } from './common';

const POLL_MS = 1500;
const LINE = 16;

/** The log files of the nodes, and what is in the chosen one, with a filter. */
export function LogsPane(props: IPaneProps): JSX.Element {
  const [chosen, setChosen] = React.useState('');
  return (
    <Document model={props.model} topic="logs">
      {({ nodes }) => {
        const [node, name] = chosen ? chosen.split(/ (.*)/) : [nodes[0]?.node_id, 'cluster.log'];
        return (
          <>
            <div className="rj-Line">
              <select
                aria-label={t('Log file')}
                data-rayjup="log-file"
                value={`${node} ${name}`}
                onChange={event => setChosen(event.target.value)}
              >
                {nodes.map(one => (
                  <optgroup key={one.node_id} label={one.name}>
                    {one.files.map(file => (
                      <option key={file} value={`${one.node_id} ${file}`}>
                        {file}
                      </option>
                    ))}
                  </optgroup>
                ))}
              </select>
            </div>
            {node && (
              <LogText
                key={`${node} ${name}`}
                model={props.model}
                cluster={props.cluster}
                node={node}
                name={name}
                maxHeight={props.maxHeight}
              />
            )}
          </>
        );
      }}
    </Document>
  );
}

/** A log that grows, drawn as far as it is in view. */
export function LogText(props: {
  model: PanelModel;
  cluster: IClusterSummary;
  node: string;
  name: string;
  maxHeight?: number;
}): JSX.Element {
  const { model, cluster, node, name } = props;
  const shown = React.useContext(Shown);
  const [log, setLog] = React.useState<ILog>({ text: '', next: null, dropped: false });
  const [trouble, setTrouble] = React.useState<string | null>(null);
  const [filter, setFilter] = React.useState('');
  const [pinned, setPinned] = React.useState(true);
  const [top, setTop] = React.useState(0);
  const box = React.useRef<HTMLDivElement>(null);
  const height = props.maxHeight ?? 300;
  const next = React.useRef<number | null>(null);

  React.useEffect(() => {
    if (!shown) {
      return undefined;
    }
    let ended = false;
    let timer = 0;
    const ask = async (): Promise<void> => {
      try {
        const piece = document.hidden
          ? null
          : await model.api.log(cluster.cluster_id, node, name, next.current);
        if (piece && !ended) {
          next.current = piece.next;
          setLog(old => follow(old, piece));
          setTrouble(null);
        }
      } catch (error) {
        setTrouble(reasonOf(error));
      }
      if (!ended) {
        timer = window.setTimeout(() => void ask(), POLL_MS);
      }
    };
    void ask();
    return () => {
      ended = true;
      window.clearTimeout(timer);
    };
  }, [model, cluster.cluster_id, node, name, shown]);

  const found = React.useMemo(() => lines(log.text, filter), [log.text, filter]);
  React.useEffect(() => {
    if (pinned && box.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [found, pinned]);
  const { first, end, above, below } = windowOf(found.length, LINE, top, height, 20);
  return (
    <div className="rj-Log">
      <div className="rj-Line">
        <input
          type="search"
          value={filter}
          placeholder={t('Filter')}
          aria-label={t('Show only lines that contain')}
          data-rayjup="log-filter"
          onChange={event => setFilter(event.target.value)}
        />
        <span className="rj-mod-quiet" role="status">
          {tn('%1 line', '%1 lines', found.length)}
          {log.dropped && ` ${t('(the newest)')}`}
        </span>
      </div>
      {!log.text && !trouble && log.next !== null && (
        <p className="rj-Hint">{t('Nothing has been written yet.')}</p>
      )}
      {trouble && <p className="rj-Hint rj-mod-error">{trouble}</p>}
      <div
        ref={box}
        className="rj-Log-text"
        role="log"
        aria-label={name}
        tabIndex={0}
        style={{ height }}
        data-rayjup="log-text"
        onScroll={event => {
          const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
          setTop(scrollTop);
          setPinned(scrollHeight - scrollTop - clientHeight < 2 * LINE);
        }}
      >
        <div style={{ height: above }} />
        {found.slice(first, end).map((line, index) => (
          <div key={first + index} className="rj-Log-line">
            {line}
          </div>
        ))}
        <div style={{ height: below }} />
      </div>
    </div>
  );
}
