#include "gateway/trust_watch.hpp"

#include "actors/access_change.hpp"
#include "gateway/event_follower.hpp"
#include "gateway/expiries.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>

namespace troupe {

struct trust_watch::data : std::enable_shared_from_this<trust_watch::data> {
  data(services& s, std::function<void(const std::string&)> l) : with{s}, lost{std::move(l)} {}

  void cut(message<schema::Event> event);
  void cut(const std::string& user);
  void run(std::function<void()> work);

  services& with;
  std::function<void(const std::string&)> lost;
  std::mutex lock;
  std::condition_variable idle;
  int cutting = 0; // guarded by lock, as what follows
  bool closed = false;
  std::optional<event_follower> events;
  std::optional<expiries> ends;
};

namespace {

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// The users of identities whose groups or provider's groups were changed.
std::vector<std::string> members_of(const snapshot& records, const std::string& group, bool of_provider) {
  std::vector<std::string> out;
  each_identity(records, [&](std::string_view, const identity_record& one) {
    auto theirs = of_provider ? one.read([](auto i) { return to_vector(i.getProviderGroups()); })
                              : effective_groups(records, one);
    if (has(theirs, group)) out.push_back(one.read([](auto i) { return text(i.getId()); }));
  });
  return out;
}

std::vector<std::string> users_of_provider(const snapshot& records) {
  std::vector<std::string> out;
  records.scan(table::identities, identity_key("oidc", ""), [&](std::string_view, std::string_view bytes) {
    out.push_back(identity_record::from_bytes(bytes).read([](auto i) { return text(i.getId()); }));
    return true;
  });
  return out;
}

/// Whom the event is about who may do less now than before; by user name.
std::vector<std::string> losers_of(const snapshot& records, const message<schema::Event>& event) {
  return event.read([&](schema::Event::Reader e) -> std::vector<std::string> {
    auto kind = view(e.getKind());
    auto name = text(e.getEntity());
    auto context = to_map(e.getContext());
    if (view(e.getAction()) == "certificate-deleted") return {name};
    if (get(context, narrowed_mark) != "true") return {};
    if (kind == "certificate") return {name};
    if (kind == "server") return users_of_provider(records);
    if (kind == "identity") return {name.substr(name.find('/') + 1)};
    auto was = get(context, "old_name");
    return members_of(records, was.empty() ? name : std::string{was}, kind == "identity-provider-group");
  });
}

} // namespace

void trust_watch::data::cut(message<schema::Event> event) {
  run([this, event = std::move(event)] {
    for (auto& user : losers_of(with.db.read(), event)) lost(user);
  });
}

void trust_watch::data::cut(const std::string& user) {
  run([this, user] { lost(user); });
}

void trust_watch::data::run(std::function<void()> work) {
  {
    std::lock_guard guard{lock};
    if (closed) return;
    ++cutting;
  }
  auto whole = [self = shared_from_this(), work = std::move(work)] {
    work();
    std::lock_guard guard{self->lock};
    --self->cutting;
    self->idle.notify_all();
  };
  if (!with.blocking.submit(whole)) whole(); // better late than never
}

trust_watch::trust_watch(services& with, std::function<void(const std::string&)> lost)
    : data_{std::make_shared<data>(with, std::move(lost))} {
  event_filter filter;
  filter.subjects = {"_.certificate.>", "_.identity.>", "_.auth-group.>", "_.identity-provider-group.>", "*.server.>"};
  filter.types = {"lifecycle"};
  std::weak_ptr<data> weak = data_;
  data_->events.emplace(with, std::move(filter), [weak](const message<schema::Event>& event) {
    if (auto self = weak.lock()) self->cut(event);
  });
  data_->events->start();
  data_->ends.emplace(with.io, [d = data_.get()](const std::string& user) { d->cut(user); });
}

void trust_watch::trusts(const std::string& user, int64_t until) { data_->ends->set(user, until); }

trust_watch::~trust_watch() { stop(); }

void trust_watch::stop() {
  data_->events.reset();
  std::unique_lock guard{data_->lock};
  data_->closed = true;
  data_->idle.wait(guard, [this] { return data_->cutting == 0; });
}

} // namespace troupe
