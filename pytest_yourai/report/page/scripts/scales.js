// From values to places on an axis, and the round values that it is marked with.

const MINUTE = 60e3;
const DAY = 1440 * MINUTE;
const MONTH = 30.4 * DAY;
const STEPS_IN_MINUTES = [1, 5, 15, 30, 60, 180, 360, 720, 1440, 2880, 10080, 20160];
const STEPS_IN_MONTHS = [1, 3, 6, 12, 24, 60, 120, 240];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const linear = ([from, to], [start, end]) => (value) => start + ((value - from) / (to - from)) * (end - start);

// What an axis covers: all `values`, and nothing where `hasZero` and all are positive.
function domain(values, hasZero = false) {
  const known = values.filter(isNumber);
  if (hasZero || !known.length) known.push(0);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const room = most > least ? (most - least) * 0.05 : Math.abs(most) / 2 || 1;
  return [hasZero && least === 0 ? 0 : least - room, most + room];
}

function numberTicks([from, to], most, isWhole = false) {
  const least = (to - from) / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const round = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least * 0.999);
  const step = isWhole ? Math.max(round, 1) : round;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return multiples(from / step, to / step).map((each) => ({ at: each * step, text: number(each * step + 0, digits) }));
}

function multiples(from, to) {
  const first = Math.ceil(from - 1e-9);
  return Array.from({ length: Math.max(Math.floor(to + 1e-9) - first + 1, 0) }, (_, place) => first + place);
}

// Times are milliseconds since 1970; months and years need less room than days with their hours.
function timeTicks([from, to], most) {
  const fits = (unit, room) => (step) => (to - from) / (step * unit) <= room;
  const minutes = STEPS_IN_MINUTES.find(fits(MINUTE, most));
  if (minutes) {
    const step = minutes * MINUTE;
    return multiples(from / step, to / step).map((each) => ({ at: each * step, text: dayText(each * step, step < DAY) }));
  }
  const months = STEPS_IN_MONTHS.find(fits(MONTH, most * 1.4)) ?? 1200;
  const monthOf = (at) => new Date(at).getUTCFullYear() * 12 + new Date(at).getUTCMonth();
  return multiples(monthOf(from) / months, monthOf(to) / months)
    .map((each) => ({ at: Date.UTC(1970, each * months - 1970 * 12), month: each * months }))
    .filter(({ at }) => at >= from)
    .map(({ at, month }) => ({ at, text: months < 12 ? `${MONTHS[month % 12]} ${Math.floor(month / 12)}` : `${month / 12}` }));
}

function dayText(at, hasHours) {
  const when = new Date(at);
  const day = `${when.getUTCDate()} ${MONTHS[when.getUTCMonth()]}`;
  return hasHours ? `${day}, ${when.toISOString().slice(11, 16)}` : day;
}
