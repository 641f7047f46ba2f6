import './panel.css';
import './forms.css';
import './cluster.css';
import './panes.css';
