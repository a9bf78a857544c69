#include "gateway/event_follower.hpp"

namespace troupe {

struct follower_delivery { // INTERNAL
  uint64_t reader = 0;
  delivery what;
};
struct follower_ended { // INTERNAL: subscribe again
  uint64_t reader = 0;
};
struct follower_begin { // INTERNAL
  bool follow = false;
};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::follower_delivery)
TROUPE_LOCAL_MESSAGE(troupe::follower_ended)
TROUPE_LOCAL_MESSAGE(troupe::follower_begin)

namespace troupe {
namespace {

constexpr uint32_t window = 256;
constexpr auto retry_pause = std::chrono::seconds{1};

struct follower {
  services& with;
  caf::event_based_actor* self;
  event_filter filter;
  std::function<void(const message<schema::Event>&)> then;
  uint64_t reader = 0;
  event_cursor last;
  subscription_ptr events;
};
using follower_ptr = std::shared_ptr<follower>;

void subscribe(const follower_ptr& me) {
  open_subscription wanted;
  wanted.filter = me->filter;
  if (me->last.seq > 0) {
    wanted.start = start_at::cursor;
    wanted.from = me->last;
  }
  auto to = me->self->address();
  auto reader = ++me->reader;
  wanted.deliver = [to, reader](const delivery& what) {
    if (auto actor = caf::actor_cast<caf::actor>(to)) caf::anon_send(actor, follower_delivery{reader, what});
  };
  wanted.ended = [to, reader](const error&) {
    if (auto actor = caf::actor_cast<caf::actor>(to)) caf::anon_send(actor, follower_ended{reader});
  };
  ask<subscription_ptr>(me->self, me->with.find(role::events), std::move(wanted),
                        [me, reader](const outcome<subscription_ptr>& opened) {
                          if (!opened) // the log is on its way back
                            return me->self->delayed_send(me->self, retry_pause, follower_ended{reader});
                          if (reader != me->reader) return; // ended before it was told of
                          me->events = *opened;
                          me->events->grant(window);
                        });
}

void take(const follower_ptr& me, const follower_delivery& came) {
  if (came.reader != me->reader) return;
  me->last = came.what.at;
  if (came.what.what == delivery::kind::event) me->then(came.what.event);
  if (me->events) me->events->grant(1);
}

void begin(const follower_ptr& me, bool follow) {
  me->events.reset();
  me->last = {};
  ++me->reader; // what is on its way is of before
  if (follow) subscribe(me);
}

} // namespace

event_follower::event_follower(services& with, event_filter filter,
                               std::function<void(const message<schema::Event>&)> then) {
  // Hidden: nobody waits for its end, which is its owner's.
  worker_ = with.system.spawn<caf::hidden>(
      [&with, filter = std::move(filter), then = std::move(then)](caf::event_based_actor* self) -> caf::behavior {
        auto me = std::make_shared<follower>(follower{with, self, filter, then});
        self->attach_functor([me] { me->events.reset(); });
        return {[me](follower_begin what) { begin(me, what.follow); },
                [me](const follower_delivery& came) { take(me, came); },
                [me](follower_ended ended) {
                  if (ended.reader == me->reader) subscribe(me);
                }};
      });
}

void event_follower::start() { caf::anon_send(worker_, follower_begin{true}); }
void event_follower::stop() { caf::anon_send(worker_, follower_begin{false}); }

event_follower::~event_follower() { caf::anon_send_exit(worker_, caf::exit_reason::user_shutdown); }

} // namespace troupe
