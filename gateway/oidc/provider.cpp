#include "gateway/oidc/provider.hpp"

#include "messages/time.hpp"
#include "runtime/sha256.hpp"

namespace troupe {
namespace {

using json = nlohmann::json;
using namespace std::chrono_literals;

constexpr auto fresh_for = 15min; // then what the provider says is asked for again before it is used
constexpr auto usable_for = 24h;  // while it does not answer
constexpr double asks_max = 5, asks_per_second = 1.0 / 15; // a stranger's token can make us ask
constexpr size_t believed_max = 4096;
constexpr int calls_max = 6;

int64_t now_seconds() { return now_ns() / 1'000'000'000; }

tl::unexpected<error> refuse(std::string why) { return fail(fault::forbidden, std::move(why)); }

std::string text_of(const json& object, const char* name) {
  auto at = object.find(name);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

} // namespace

identity_provider::identity_provider(services& with, oidc_settings settings)
    : with_{with}, settings_{std::move(settings)}, asks_left_{asks_max}, counted_at_{clock::now()} {}

identity_provider::~identity_provider() { stop_->cancel(); }

template <class T>
void identity_provider::on_pool(std::function<outcome<T>(const cancel_token&)> work,
                                std::function<void(outcome<T>)> next) {
  auto job = [weak = weak_from_this(), &io = with_.io, stop = stop_, work, next] {
    auto result = std::make_shared<outcome<T>>(work(*stop));
    io.post([weak, result, next] {
      auto self = weak.lock();
      if (!self) return;
      --self->calls_;
      next(std::move(*result));
    });
  };
  if (calls_ >= calls_max || !with_.blocking.submit(job))
    return next(fail(fault::busy, "The server has too much to ask of the identity provider; try again in a moment"));
  ++calls_;
}

// ---- what it says of itself

bool identity_provider::are_fresh() const { return facts_ && clock::now() - learned_at_ < fresh_for; }
bool identity_provider::are_usable() const { return facts_ && clock::now() - learned_at_ < usable_for; }

bool identity_provider::may_ask() {
  auto now = clock::now();
  asks_left_ =
      std::min(asks_max, asks_left_ + std::chrono::duration<double>(now - counted_at_).count() * asks_per_second);
  counted_at_ = now;
  return asks_left_ >= 1;
}

void identity_provider::learn(std::function<void(const outcome<void>&)> next) {
  if (!learning_ && !may_ask())
    return next(fail(fault::busy, "The identity provider was asked too often; try again in a moment"));
  waiting_.push_back(std::move(next));
  if (std::exchange(learning_, true)) return;
  asks_left_ -= 1;
  on_pool<provider_facts>([issuer = settings_.issuer](const cancel_token& stop) { return discover(issuer, stop); },
                          [this](outcome<provider_facts> facts) { learned(std::move(facts)); });
}

void identity_provider::learned(outcome<provider_facts> facts) {
  learning_ = false;
  outcome<void> done;
  if (facts) {
    facts_ = std::move(*facts);
    learned_at_ = clock::now();
    believed_.clear(); // what a key has signed that is gone
  } else {
    log().warn("{}", facts.error().message);
    done = tl::unexpected{facts.error()};
  }
  for (auto& next : std::exchange(waiting_, {})) next(done);
}

void identity_provider::authorization_endpoint(then<std::string> next) {
  if (are_fresh()) return next(facts_->authorization_endpoint);
  learn([this, next](const outcome<void>& done) {
    if (!are_usable()) return next(tl::unexpected{done.error()});
    next(facts_->authorization_endpoint);
  });
}

// ---- tokens

outcome<signed_token> identity_provider::verified(const std::string& text, const std::string& audience) {
  auto token = parse_token(text);
  if (!token) return token;
  if (auto good = check_signature(*token, facts_->keys); !good) return tl::unexpected{good.error()};
  auto good = check_claims(token->claims,
                           {settings_.issuer, audience, {settings_.client, settings_.device_client}, now_seconds()});
  if (!good) return tl::unexpected{good.error()};
  return token;
}

std::optional<outcome<oidc_login>> identity_provider::judge_at_once(const std::string& token) {
  if (auto at = believed_.find(sha256_hex(token)); at != believed_.end() && now_seconds() < at->second.ends)
    return at->second.who;
  if (auto parsed = parse_token(token); !parsed) return tl::unexpected{parsed.error()};
  if (!are_fresh()) return std::nullopt;
  auto good = verified(token, settings_.audience);
  if (!good && good.error().code == fault::not_found && (learning_ || may_ask())) return std::nullopt; // a new key?
  if (!good) return refuse(good.error().message);
  if (!say_enough(good->claims, settings_)) return std::nullopt;
  auto who = login_of(good->claims, settings_);
  if (who) remember(token, *who);
  return who;
}

void identity_provider::judge(const std::string& token, then<oidc_login> next) {
  if (auto known = judge_at_once(token)) return next(*known);
  auto judge_now = [this, token, next] {
    auto good = verified(token, settings_.audience);
    if (!good) return next(refuse(good.error().message));
    complete(std::move(good->claims), token, [this, token, next](const outcome<oidc_login>& who) {
      if (who) remember(token, *who);
      next(who);
    });
  };
  if (are_fresh() && verified(token, settings_.audience)) return judge_now();
  learn([this, judge_now, next](const outcome<void>& done) {
    if (!are_usable()) return next(tl::unexpected{done.error()});
    judge_now();
  });
}

void identity_provider::complete(json claims, const std::string& access_token, then<oidc_login> next) {
  if (say_enough(claims, settings_) || facts_->userinfo_endpoint.empty() || access_token.empty())
    return next(login_of(claims, settings_));
  web_call call{"GET", facts_->userinfo_endpoint, {"Authorization: Bearer " + access_token}};
  on_pool<json>([call](const cancel_token& stop) { return fetch_object(call, stop); },
                [this, claims, next](outcome<json> more) mutable {
                  // The token is not for asking more: then what it says itself is all there is.
                  bool refused = !more && more.error().code == fault::forbidden;
                  if (refused) return next(login_of(claims, settings_));
                  if (!more) return next(tl::unexpected{more.error()});
                  if (text_of(*more, "sub") != text_of(claims, "sub"))
                    return next(refuse("The identity provider speaks of somebody else"));
                  auto told_at = claims.value("iat", json{}), ends = claims.value("exp", json{});
                  claims.update(*more);
                  claims["iat"] = told_at;
                  claims["exp"] = ends;
                  next(login_of(claims, settings_));
                });
}

void identity_provider::remember(const std::string& token, const oidc_login& who) {
  if (believed_.size() >= believed_max) believed_.clear();
  believed_.insert_or_assign(sha256_hex(token), believed{who, who.ends});
}

// ---- a browser's code

void identity_provider::redeem(const code_call& call, then<oidc_login> next) {
  if (!are_usable()) return next(fail(fault::busy, "The identity provider has to be asked first; log in again"));
  std::vector<std::pair<std::string, std::string>> fields{{"grant_type", "authorization_code"},
                                                          {"code", call.code},
                                                          {"redirect_uri", call.redirect},
                                                          {"code_verifier", call.verifier}};
  web_call post{"POST", facts_->token_endpoint, {"Content-Type: application/x-www-form-urlencoded"}};
  bool basic = !settings_.secret.empty() && !facts_->secret_in_body;
  if (basic) { // both are form-encoded first (RFC 6749, 2.3.1)
    post.user = form_of({{settings_.client, ""}});
    post.user.pop_back();
    post.password = form_of({{settings_.secret, ""}});
    post.password.pop_back();
  } else {
    fields.emplace_back("client_id", settings_.client);
    if (!settings_.secret.empty()) fields.emplace_back("client_secret", settings_.secret);
  }
  post.body = form_of(fields);
  on_pool<json>([post](const cancel_token& stop) { return fetch_object(post, stop); },
                [this, nonce = call.nonce, next](const outcome<json>& tokens) { finish_code(tokens, nonce, next); });
}

void identity_provider::finish_code(const outcome<json>& tokens, const std::string& nonce, then<oidc_login> next) {
  if (!tokens) return next(tl::unexpected{tokens.error()});
  auto id_token = text_of(*tokens, "id_token"), access_token = text_of(*tokens, "access_token");
  auto judge_now = [this, id_token, access_token, nonce, next] {
    auto good = verified(id_token, settings_.client);
    if (!good) return next(refuse(good.error().message));
    if (text_of(good->claims, "nonce") != nonce) return next(refuse("The token belongs to another login"));
    complete(std::move(good->claims), access_token, next);
  };
  auto first = verified(id_token, settings_.client);
  if (first || first.error().code != fault::not_found) return judge_now();
  learn([judge_now](const outcome<void>&) { judge_now(); }); // perhaps a new key
}

} // namespace troupe
