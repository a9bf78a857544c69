#include "gateway/bus/ask.hpp"
#include "gateway/bus/judge.hpp"
#include "gateway/bus/methods.hpp"

#include "actors/records.hpp"

#include <algorithm>
#include <capnp/membrane.h>
#include <kj/debug.h>

namespace troupe::on_bus {
namespace {

struct rules {
  bool read_only = false;
  std::vector<std::string> verbs;

  bool allow(const method_facts& method) const {
    if (method.implied) return true;
    if (read_only && !method.reads) return false;
    if (verbs.empty()) return true;
    auto all_of_noun = method.name.substr(0, method.name.find('.')) + ".*";
    for (auto& verb : verbs)
      if (verb == method.name || verb == all_of_noun) return true;
    return false;
  }
};

using any_handle = bus::Handle<>;

// In a fence's place: of what the handle behind it offers, only what the rules allow.
class narrowed final : public any_handle::Server {
public:
  narrowed(rules allowed, capnp::Capability::Client behind)
      : rules_{std::move(allowed)}, behind_{behind.castAs<any_handle>()} {}

  kj::Promise<void> offers(OffersContext context) override {
    return behind_.offersRequest().send().then([this, context](auto&& found) mutable {
      std::vector<std::string> left;
      for (auto name : found.getMethods())
        if (auto* facts = find_method(view(name)); facts && rules_.allow(*facts)) left.push_back(text(name));
      fill(context.getResults().initMethods(static_cast<unsigned>(left.size())), left);
    });
  }

private:
  rules rules_;
  any_handle::Client behind_;
};

// All that crosses it, in either direction, is wrapped in it again: that is why revoking one handle ends everything
// that came from it.
class fence final : public capnp::MembranePolicy, public kj::Refcounted {
public:
  fence(rules allowed, kj::Timer& timer, int64_t delay_ns) : rules_{std::move(allowed)} {
    auto way = kj::newPromiseAndFulfiller<void>();
    end_ = kj::mv(way.fulfiller);
    auto over = kj::mv(way.promise);
    if (delay_ns >= 0)
      over = over.exclusiveJoin(timer.afterDelay(delay_ns * kj::NANOSECONDS).then([] {
        refuse(fault::forbidden, "This handle has expired");
      }));
    revoked_ = over.fork();
  }

  void revoke() { end_->reject(to_exception({fault::forbidden, "This handle was revoked"})); }

  // A forbidden call goes to a handle that only knows how to refuse; a throw here would end the connection.
  kj::Maybe<capnp::Capability::Client> inboundCall(uint64_t interface_id, uint16_t method,
                                                   capnp::Capability::Client target) override {
    auto* facts = find_method(interface_id, method);
    if (facts && facts->run == offers_of_handle)
      return capnp::Capability::Client{kj::heap<narrowed>(rules_, kj::mv(target))};
    if (facts && rules_.allow(*facts)) return nullptr;
    return capnp::Capability::Client{
        to_exception({fault::forbidden, "This handle does not allow " + (facts ? facts->name : std::string{"that"})})};
  }
  bool shouldResolveBeforeRedirecting() override { return false; }
  // Calls to what the client passed in: its streams and sinks.
  kj::Maybe<capnp::Capability::Client> outboundCall(uint64_t, uint16_t, capnp::Capability::Client) override {
    return nullptr;
  }
  kj::Own<capnp::MembranePolicy> addRef() override { return kj::addRef(*this); }
  kj::Maybe<kj::Promise<void>> onRevoked() override { return revoked_.addBranch(); }

private:
  rules rules_;
  kj::Own<kj::PromiseFulfiller<void>> end_;
  kj::ForkedPromise<void> revoked_ = nullptr;
};

class revoker final : public bus::Revoker::Server {
public:
  explicit revoker(kj::Own<fence> what) : what_{kj::mv(what)} {}
  kj::Promise<void> revoke(RevokeContext) override {
    what_->revoke();
    return kj::READY_NOW;
  }

private:
  kj::Own<fence> what_;
};

rules rules_from(bus::Rules::Reader from) {
  rules out{from.getReadOnly(), {}};
  for (auto verb : from.getVerbs()) {
    out.verbs.push_back(text(verb));
    auto known = [&](auto& type) {
      if (out.verbs.back() == short_name(type) + ".*") return true;
      for (auto method : type.getMethods())
        if (out.verbs.back() == short_name(type) + "." + method.getProto().getName().cStr()) return true;
      return false;
    };
    if (std::none_of(interfaces().begin(), interfaces().end(), known))
      refuse(fault::invalid, "There is no verb \"" + out.verbs.back() + "\"");
  }
  return out;
}

} // namespace

kj::Promise<void> offers_of_handle(const call_ptr& c) {
  std::vector<std::string> out;
  auto look = [&](capnp::InterfaceSchema type) {
    for (auto method : type.getMethods()) {
      auto* facts = find_method(type.getProto().getId(), method.getOrdinal());
      if (facts && facts->run && judge(*facts, c->at)) out.push_back(facts->name);
    }
  };
  look(c->type);
  for (auto base : c->type.getSuperclasses()) look(base);
  auto results = c->context.getResults().as<any_handle::OffersResults>();
  fill(results.initMethods(static_cast<unsigned>(out.size())), out);
  return kj::READY_NOW;
}

kj::Promise<void> restrict_handle(const call_ptr& c) {
  auto params = c->params<bus::Rules>();
  int64_t delay = -1;
  if (params.getExpiresAt() != 0) {
    delay = params.getExpiresAt() - now_ns();
    if (delay <= 0) refuse(fault::invalid, "The expiry is in the past");
  }
  auto policy = kj::refcounted<fence>(rules_from(params), c->at.of->io.provider->getTimer(), delay);
  auto results = c->context.getResults();
  auto type = c->type;
  auto inner = make_handle(type, c->at);
  capnp::Capability::Client outer = capnp::membrane(capnp::Capability::Client{kj::mv(inner)}, kj::addRef(*policy));
  results.set("handle", outer.castAs<capnp::DynamicCapability>(type));
  bus::Revoker::Client key = kj::heap<revoker>(kj::mv(policy));
  results.set("revoker", capnp::DynamicCapability::Client{kj::mv(key)});
  return kj::READY_NOW;
}

} // namespace troupe::on_bus
