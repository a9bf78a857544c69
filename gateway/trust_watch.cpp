#include "gateway/trust_watch.hpp"

#include "actors/certificates.hpp"

#include <condition_variable>
#include <mutex>

namespace troupe {

struct trust_watch::data : std::enable_shared_from_this<trust_watch::data> {
  data(services& s, std::function<void(const std::string&)> l) : with{s}, lost{std::move(l)} {}

  void subscribe();
  void deliver(const delivery& what);
  void cut(std::string fingerprint);

  services& with;
  std::function<void(const std::string&)> lost;
  std::mutex lock;
  std::condition_variable idle;
  subscription_ptr events; // guarded by lock, as what follows
  event_cursor last;
  int cutting = 0;
  bool closed = false;
};

namespace {

constexpr uint32_t window = 256;

// A record that is still there unrestricted lost nothing: it was renamed.
bool has_lost(services& with, const std::string& fingerprint) {
  auto record = load<schema::Certificate>(with.db.read(), table::certificates, fingerprint);
  return !record ||
         record->read([](schema::Certificate::Reader c) { return c.getRestricted() || view(c.getType()) != "client"; });
}

} // namespace

void trust_watch::data::cut(std::string fingerprint) {
  {
    std::lock_guard guard{lock};
    if (closed) return;
    ++cutting;
  }
  auto work = [self = shared_from_this(), fingerprint = std::move(fingerprint)] {
    if (has_lost(self->with, fingerprint)) self->lost(fingerprint);
    std::lock_guard guard{self->lock};
    --self->cutting;
    self->idle.notify_all();
  };
  if (!with.blocking.submit(work)) work(); // better late than never
}

void trust_watch::data::deliver(const delivery& what) {
  subscription_ptr to;
  {
    std::lock_guard guard{lock};
    last = what.at;
    to = events;
  }
  if (what.what == delivery::kind::event)
    what.event.read([&](schema::Event::Reader event) {
      if (view(event.getAction()) != "certificate-created") cut(text(event.getEntity()));
    });
  if (to) to->grant(1);
}

/// After the events actor was restarted: from where we were.
void trust_watch::data::subscribe() {
  open_subscription request;
  request.filter.subjects = {"_.certificate.>"};
  request.filter.types = {"lifecycle"};
  {
    std::lock_guard guard{lock};
    if (closed) return;
    if (last.seq > 0) {
      request.start = start_at::cursor;
      request.from = last;
    }
  }
  std::weak_ptr<data> weak = shared_from_this();
  request.deliver = [weak](const delivery& what) {
    if (auto self = weak.lock()) self->deliver(what);
  };
  request.ended = [weak](const error&) {
    if (auto self = weak.lock()) self->subscribe();
  };
  ask_through<subscription_ptr>(
      role::rest_door, with, role::events,
      [weak](const outcome<subscription_ptr>& opened) {
        auto self = weak.lock();
        if (!self || !opened) return;
        std::lock_guard guard{self->lock};
        if (self->closed) return;
        self->events = *opened;
        (*opened)->grant(window);
      },
      request);
}

trust_watch::trust_watch(services& with, std::function<void(const std::string&)> lost)
    : data_{std::make_shared<data>(with, std::move(lost))} {
  data_->subscribe();
}

trust_watch::~trust_watch() {
  std::unique_lock guard{data_->lock};
  data_->closed = true;
  auto last = std::move(data_->events);
  data_->idle.wait(guard, [this] { return data_->cutting == 0; });
  guard.unlock();
}

} // namespace troupe
