// Labels beside some points of a panel, where each lies over the fewest other points and labels.

const LABEL_SIDES = [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, 1], [1, -1], [-1, -1]];
const LINE_HEIGHT = 16;

function labels(spots, frame) {
  const taken = [];
  return spots
    .filter(({ label }) => label)
    .flatMap((spot) => {
      const box = labelBox(spot, spots, taken, frame);
      taken.push(box);
      return spot.label.map((text, line) =>
        svgText(text, {
          class: "halo",
          x: (box.left + box.right) / 2,
          y: box.top + LINE_HEIGHT * line + 12,
          "text-anchor": "middle",
        }),
      );
    });
}

function labelBox(spot, spots, taken, frame) {
  const width = Math.max(...spot.label.map((text) => text.length)) * LETTER_WIDTH;
  const height = spot.label.length * LINE_HEIGHT;
  const boxes = LABEL_SIDES.map(([right, up]) => {
    const middle = spot.left + right * (width / 2 + 14);
    const level = spot.top - up * (height / 2 + 12);
    const box = { left: middle - width / 2, right: middle + width / 2, top: level - height / 2, bottom: level + height / 2 };
    return { ...box, cost: labelCost(box, spots, taken, frame) };
  });
  return boxes.reduce((found, next) => (next.cost < found.cost ? next : found));
}

function labelCost(box, spots, taken, frame) {
  const isOutside = box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom;
  const crossed = taken.filter(
    (other) => other.left < box.right && other.right > box.left && other.top < box.bottom && other.bottom > box.top,
  );
  const covered = spots.filter(
    ({ left, top }) => left > box.left - 6 && left < box.right + 6 && top > box.top - 6 && top < box.bottom + 6,
  );
  return 100 * isOutside + 10 * crossed.length + covered.length;
}
