// Beside the page: trains one network at a time, and tells after each epoch; "pause" and "go" may come between epochs.
if (typeof document === "undefined") {
  let training = null;
  let going = false;
  let id = 0; // of the run: what an earlier one still had to say is not taken for its
  const next = () => {
    if (!going || !training || training.ended) return;
    const seen = training.nextEpoch();
    postMessage({ id, seen, answers: training.answers(12), ended: training.ended });
    setTimeout(next, 0);
  };
  onmessage = ({ data }) => {
    if (data.start) {
      id = data.id;
      training = new Training(data.start);
      postMessage({ id, seen: training.history[0], answers: training.answers(12), ended: false });
    }
    const was = going;
    going = data.going;
    if (going && (data.start || !was)) setTimeout(next, 0);
  };
}
