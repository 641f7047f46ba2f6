import * as React from 'react';

import { count } from '../format';
import type { IActorRow, INode } from '../types';
import { More } from './section';

/** Ray's names of the states, in the words of the panel. */
const STATES: { [state: string]: { text: string; tone: string } } = {
  DEPENDENCIES_UNREADY: { text: 'waiting', tone: 'busy' },
  PENDING_CREATION: { text: 'starting', tone: 'busy' },
  ALIVE: { text: 'alive', tone: 'running' },
  RESTARTING: { text: 'restarting', tone: 'busy' },
  DEAD: { text: 'dead', tone: 'dead' }
};

/** Actors with their state; where they run is in the tooltip. */
export function ActorTable(props: { actors: IActorRow[]; nodes: INode[]; total: number }): JSX.Element {
  if (props.actors.length === 0) {
    return <p className="rj-Hint">No actors yet.</p>;
  }
  const nodeNames = new Map(props.nodes.map(node => [node.node_id, node.name]));
  return (
    <>
      <table className="rj-Table" data-rayjup="actors">
        <thead>
          <tr>
            <th scope="col">actor</th>
            <th scope="col" className="rj-Table-state">
              state
            </th>
            <th scope="col" className="rj-mod-number rj-mod-optional">
              pid
            </th>
            <th scope="col" className="rj-mod-number" title="Calls that wait for the actor">
              pending
            </th>
          </tr>
        </thead>
        <tbody>
          {props.actors.map(actor => (
            <Row key={actor.actor_id} actor={actor} node={nodeNames.get(actor.node_id ?? '')} />
          ))}
        </tbody>
      </table>
      <More shown={props.actors.length} total={props.total} />
    </>
  );
}

function Row(props: { actor: IActorRow; node: string | undefined }): JSX.Element {
  const { actor, node } = props;
  const state = STATES[actor.state] ?? { text: actor.state.toLowerCase(), tone: 'busy' };
  const title = [actor.name, actor.class_name, `actor ${actor.actor_id}`, node && `on ${node}`]
    .filter(Boolean)
    .join('\n');
  return (
    <tr>
      <td className="rj-Table-name" title={title}>
        {actor.name || actor.class_name}
        {actor.name && <span className="rj-Table-sub"> {actor.class_name}</span>}
      </td>
      <td className="rj-Table-state">
        <span className={`rj-Dot rj-mod-${state.tone}`} />
        {state.text}
      </td>
      <td className="rj-mod-number rj-mod-quiet rj-mod-optional">{actor.pid ?? '–'}</td>
      <td className={`rj-mod-number rj-mod-${actor.pending ? 'pending' : 'zero'}`}>{count(actor.pending)}</td>
    </tr>
  );
}
