#include "actors/scheduler.hpp"

#include "actors/ask.hpp"
#include "actors/instance_backup.hpp"
#include "actors/instance_snapshot.hpp"
#include "actors/operation_record.hpp"
#include "actors/retention.hpp"
#include "actors/schedule.hpp"
#include "actors/subscription.hpp"
#include "actors/volume_snapshots.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <set>

namespace troupe {

struct agenda_due { // INTERNAL: the first entry may be due; an older alarm is out of date
  uint64_t alarm = 0;
};
struct agenda_changed { // INTERNAL: what a delivery is about
  enum class what : uint8_t { nothing, instance, started, taken, all };
  uint64_t reader = 0;
  what concerns = what::nothing;
  std::string instance = {}; // "PROJECT/NAME", or a volume: "PROJECT/POOL/NAME"
};
struct agenda_lost { // INTERNAL: the events ended
  uint64_t reader = 0;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::agenda_due)
TROUPE_LOCAL_MESSAGE(troupe::agenda_changed)
TROUPE_LOCAL_MESSAGE(troupe::agenda_lost)

namespace troupe {
namespace {

constexpr int64_t second_ns = 1'000'000'000;
constexpr uint32_t credits = 256;
constexpr auto retry_pause = std::chrono::seconds{1};
constexpr int64_t sleep_most = 3600; // the clock may be set
constexpr int64_t retry_seconds = 60;

struct agenda {
  services& with;
  caf::event_based_actor* self;
  std::map<std::string, int64_t> moments;           // by instance or volume; seconds since the epoch
  std::set<std::pair<int64_t, std::string>> sorted; // the same
  uint64_t alarm = 0, reader = 0;
  subscription_ptr events;
};
using agenda_ptr = std::shared_ptr<agenda>;

int64_t now_s() { return now_ns() / second_ns; }

schedule schedule_of(const snapshot& records, schema::InstanceSpec::Reader spec) {
  return schedule::parse(get(expand(records, spec).config, "snapshots.schedule")).value_or(schedule{});
}

// Ends of what is kept of it; 0: none.
std::vector<int64_t> ends_of(const snapshot& records, schema::InstanceSpec::Reader spec) {
  std::vector<int64_t> out;
  for (auto& taken : snapshots_of(records, view(spec.getProject()), view(spec.getName())))
    out.push_back(taken.read([](auto s) { return s.getExpiresAt(); }));
  for (auto& backup : backups_of(records, view(spec.getProject()), view(spec.getName())))
    out.push_back(backup.read([](auto b) { return b.getExpiresAt(); }));
  return out;
}

// When something is to be done for it next.
std::optional<int64_t> next_moment(const snapshot& records, schema::InstanceSpec::Reader spec) {
  auto first = schedule_of(records, spec).next_after(now_s());
  for (auto expires : ends_of(records, spec)) {
    if (expires <= 0) continue;
    auto when = (expires + second_ns - 1) / second_ns;
    if (!first || when < *first) first = when;
  }
  return first;
}

// Names hold no slash: a volume has one more.
bool is_volume(std::string_view key) { return std::count(key.begin(), key.end(), '/') == 2; }

schedule schedule_of(const volume_record& volume) {
  auto config = volume.read([](auto v) { return to_map(v.getConfig()); });
  return schedule::parse(get(config, "snapshots.schedule")).value_or(schedule{});
}

std::optional<int64_t> next_moment(const snapshot& records, const volume_record& volume) {
  auto first = schedule_of(volume).next_after(now_s());
  for (auto& taken : snapshots_of(records, place_of(volume))) {
    auto expires = taken.read([](auto s) { return s.getExpiresAt(); });
    if (expires <= 0) continue;
    auto when = (expires + second_ns - 1) / second_ns;
    if (!first || when < *first) first = when;
  }
  return first;
}

void set_alarm(const agenda_ptr& me) {
  ++me->alarm;
  if (me->sorted.empty()) return;
  auto wait = std::clamp<int64_t>(me->sorted.begin()->first - now_s(), 0, sleep_most);
  me->self->delayed_send(me->self, std::chrono::seconds{wait}, agenda_due{me->alarm});
}

void note(const agenda_ptr& me, const std::string& instance, std::optional<int64_t> when) {
  if (auto at = me->moments.find(instance); at != me->moments.end()) {
    me->sorted.erase({at->second, instance});
    me->moments.erase(at);
  }
  if (!when) return;
  me->moments.emplace(instance, *when);
  me->sorted.emplace(*when, instance);
}

void note_at_least(const agenda_ptr& me, const std::string& instance, int64_t when) {
  auto at = me->moments.find(instance);
  if (at != me->moments.end() && at->second <= when) return;
  note(me, instance, when);
  set_alarm(me);
}

void look_at(const agenda_ptr& me, const snapshot& records, const std::string& instance) {
  if (is_volume(instance)) {
    auto volume = load<schema::VolumeSpec>(records, table::custom_volumes, instance);
    return note(me, instance, volume ? next_moment(records, *volume) : std::nullopt);
  }
  auto spec = load<schema::InstanceSpec>(records, table::instances, instance);
  note(me, instance, spec ? spec->read([&](auto s) { return next_moment(records, s); }) : std::nullopt);
}

void look_at_all(const agenda_ptr& me) {
  auto records = me->with.db.read();
  me->moments.clear();
  me->sorted.clear();
  records.scan(table::instances, "", [&](std::string_view key, std::string_view bytes) {
    auto when = spec_record::from_bytes(bytes).read([&](auto spec) { return next_moment(records, spec); });
    note(me, std::string{key}, when);
    return true;
  });
  records.scan(table::custom_volumes, "", [&](std::string_view key, std::string_view bytes) {
    note(me, std::string{key}, next_moment(records, volume_record::from_bytes(bytes)));
    return true;
  });
}

// ---- what is done

std::shared_ptr<const header> head_in(std::string_view project) {
  auto head = std::make_shared<header>();
  head->project = project;
  return head;
}

template <class Request>
void request(const agenda_ptr& me, const std::string& instance, Request what) {
  auto slash = instance.find('/');
  to_instance to{instance.substr(0, slash), instance.substr(slash + 1)};
  ask_untyped(me->self, me->with.find(role::instances), caf::make_message(std::move(to), std::move(what)),
              into_outcome<operation_record>([me, instance](const outcome<operation_record>& begun) {
                if (begun) return;
                log().warn("Snapshots and backups of {}: {}", instance, begun.error().message);
                note_at_least(me, instance, now_s() + retry_seconds); // what has expired is tried again
              }));
}

void take_one(const agenda_ptr& me, schema::InstanceSpec::Reader spec) {
  envelope<schema::SnapshotsPost> post{message<schema::SnapshotsPost>::make([](auto p) { p.setScheduled(true); }),
                                       head_in(view(spec.getProject()))};
  request(me, in_project(view(spec.getProject()), view(spec.getName())), std::move(post));
}

void remove_expired(const agenda_ptr& me, const snapshot& records, schema::InstanceSpec::Reader spec) {
  for (auto& taken : snapshots_of(records, view(spec.getProject()), view(spec.getName()))) {
    auto [name, expires] = taken.read([](auto s) { return std::pair{text(s.getName()), s.getExpiresAt()}; });
    if (expires <= 0 || expires > now_ns()) continue;
    change_snapshot gone{change_snapshot::verb::remove, head_in(view(spec.getProject())), name};
    request(me, in_project(view(spec.getProject()), view(spec.getName())), std::move(gone));
  }
  for (auto& backup : backups_of(records, view(spec.getProject()), view(spec.getName()))) {
    auto [name, expires] = backup.read([](auto b) { return std::pair{text(b.getName()), b.getExpiresAt()}; });
    if (expires <= 0 || expires > now_ns()) continue;
    change_backup gone{change_backup::verb::remove, head_in(view(spec.getProject())), name, ""};
    request(me, in_project(view(spec.getProject()), view(spec.getName())), std::move(gone));
  }
}

// What the tiers keep changes with each snapshot that is taken.
void prune(const agenda_ptr& me, const snapshot& records, schema::InstanceSpec::Reader spec) {
  auto tiers = retention_of(expand(records, spec).config);
  if (!tiers.any()) return;
  auto all = retain(snapshots_of(records, view(spec.getProject()), view(spec.getName())), tiers);
  if (std::any_of(all.begin(), all.end(), [](auto& each) { return each.kept_by.empty(); }))
    request(me, in_project(view(spec.getProject()), view(spec.getName())),
            prune_snapshots{head_in(view(spec.getProject()))});
}

bool is_wanted(const snapshot& records, schema::InstanceSpec::Reader spec) {
  if (is_true(get(expand(records, spec).config, "snapshots.schedule.stopped"))) return true;
  auto key = in_project(view(spec.getProject()), view(spec.getName()));
  auto status = load<schema::InstanceStatus>(records, table::statuses, key).value_or(status_record{});
  return status.read([](auto s) { return s.getState(); }) != instance_state::STOPPED;
}

template <class Request>
void request_of_volume(const agenda_ptr& me, const volume_place& of, Request what) {
  auto begun = [me, key = of.key()](const outcome<operation_record>& record) {
    if (record) return;
    log().warn("Snapshots of the volume {}: {}", key, record.error().message);
    note_at_least(me, key, now_s() + retry_seconds);
  };
  ask<operation_record>(me->self, me->with.find(role::pools), std::move(what), begun);
}

void serve_volume(const agenda_ptr& me, const snapshot& records, const volume_record& volume, int64_t moment) {
  auto of = place_of(volume);
  for (auto& taken : snapshots_of(records, of)) {
    auto [name, expires] = taken.read([](auto s) { return std::pair{text(s.getName()), s.getExpiresAt()}; });
    if (expires <= 0 || expires > now_ns()) continue;
    change_volume_snapshot gone{change_volume_snapshot::verb::remove, of.pool, of.name, name};
    gone.head = head_in(of.project);
    request_of_volume(me, of, std::move(gone));
  }
  if (schedule_of(volume).next_after(moment - 1) != moment) return;
  auto post = message<schema::VolumeSnapshotsPost>::make([](auto) {});
  request_of_volume(me, of, snapshot_volume{of.pool, of.name, {post, head_in(of.project)}});
}

void serve(const agenda_ptr& me, const snapshot& records, const std::string& instance, int64_t moment) {
  if (is_volume(instance)) {
    if (auto volume = load<schema::VolumeSpec>(records, table::custom_volumes, instance))
      serve_volume(me, records, *volume, moment);
    return;
  }
  auto spec = load<schema::InstanceSpec>(records, table::instances, instance);
  if (!spec) return;
  spec->read([&](schema::InstanceSpec::Reader s) {
    remove_expired(me, records, s);
    bool scheduled = schedule_of(records, s).next_after(moment - 1) == moment;
    if (scheduled && is_wanted(records, s)) take_one(me, s);
  });
}

void serve_due(const agenda_ptr& me) {
  auto records = me->with.db.read();
  while (!me->sorted.empty() && me->sorted.begin()->first <= now_s()) {
    auto [moment, instance] = *me->sorted.begin();
    note(me, instance, std::nullopt);
    serve(me, records, instance, moment);
    if (is_volume(instance)) {
      auto volume = load<schema::VolumeSpec>(records, table::custom_volumes, instance);
      if (volume) note(me, instance, schedule_of(*volume).next_after(now_s()));
      continue;
    }
    auto spec = load<schema::InstanceSpec>(records, table::instances, instance);
    // What has expired goes with its event; until then it is no reason to come back.
    if (spec) note(me, instance, spec->read([&](auto s) { return schedule_of(records, s).next_after(now_s()); }));
  }
  set_alarm(me);
}

// ---- what changes it

// An event's entity is POOL/custom/NAME.
std::string volume_key(schema::Event::Reader event) {
  auto entity = view(event.getEntity());
  auto first = entity.find('/'), last = entity.rfind('/');
  return in_project(view(event.getProject()), entity.substr(0, first)) + std::string{entity.substr(last)};
}

void subscribe(const agenda_ptr& me) {
  open_subscription wanted;
  wanted.filter.subjects = {"*.instance.>", "*.profile.>", "*.storage-volume.>"};
  wanted.filter.types = {"lifecycle"};
  auto self = me->self->address();
  auto tell = [self](auto what) {
    if (auto to = caf::actor_cast<caf::actor>(self)) caf::anon_send(to, std::move(what));
  };
  using concerns = agenda_changed::what;
  wanted.deliver = [tell, reader = ++me->reader](const delivery& what) {
    if (what.what == delivery::kind::gap) return tell(agenda_changed{reader, concerns::all});
    if (what.what != delivery::kind::event) return tell(agenda_changed{reader});
    what.event.read([&](schema::Event::Reader event) {
      if (view(event.getKind()) == "storage-volume")
        return tell(agenda_changed{reader, concerns::instance, volume_key(event)});
      if (view(event.getKind()) != "instance") return tell(agenda_changed{reader, concerns::all});
      auto instance = in_project(view(event.getProject()), view(event.getEntity()));
      auto action = view(event.getAction());
      bool started = action == "instance-started" || action == "instance-restarted";
      bool taken = action == "instance-snapshot-created";
      tell(agenda_changed{reader,
                          started ? concerns::started
                          : taken ? concerns::taken
                                  : concerns::instance,
                          std::move(instance)});
    });
  };
  wanted.ended = [tell, reader = me->reader](const error&) { tell(agenda_lost{reader}); };
  auto events = me->with.find(role::events);
  auto opened = [me, reader = me->reader](const outcome<subscription_ptr>& made) {
    if (!made) return me->self->delayed_send(me->self, retry_pause, agenda_lost{reader}); // the log starts anew
    me->events = *made;
    me->events->grant(credits);
    look_at_all(me); // what was changed before the subscription began
    set_alarm(me);
  };
  ask<subscription_ptr>(me->self, events, std::move(wanted), opened);
}

template <class Act>
void with_spec(const agenda_ptr& me, const std::string& instance, Act act) {
  auto records = me->with.db.read();
  auto spec = load<schema::InstanceSpec>(records, table::instances, instance);
  if (spec) spec->read([&](schema::InstanceSpec::Reader s) { act(records, s); });
}

void on_start(const agenda_ptr& me, const std::string& instance) {
  with_spec(me, instance, [&](auto& records, auto spec) {
    if (schedule_of(records, spec).at_startup()) take_one(me, spec);
  });
}

void on_change(const agenda_ptr& me, const agenda_changed& what) {
  if (what.reader != me->reader || !me->events) return;
  me->events->grant(1);
  if (what.concerns == agenda_changed::what::nothing) return;
  if (what.concerns == agenda_changed::what::started) return on_start(me, what.instance);
  serve_due(me); // what is due this second must not be put off to the next time by looking anew
  if (what.concerns == agenda_changed::what::taken)
    with_spec(me, what.instance, [&](auto& records, auto spec) { prune(me, records, spec); });
  if (what.concerns == agenda_changed::what::all)
    look_at_all(me);
  else
    look_at(me, me->with.db.read(), what.instance);
  set_alarm(me);
}

} // namespace

caf::behavior scheduler(caf::event_based_actor* self, services& with) {
  auto me = std::make_shared<agenda>(agenda{with, self, {}, {}, 0, 0, {}});
  self->attach_functor([me] { me->events.reset(); });
  subscribe(me);
  return {
      [me](const agenda_due& due) {
        if (due.alarm == me->alarm) serve_due(me);
      },
      [me](const agenda_changed& what) { on_change(me, what); },
      [me](const agenda_lost& lost) {
        if (lost.reader == me->reader) subscribe(me);
      },
  };
}

} // namespace troupe
