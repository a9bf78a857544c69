#pragma once

#include "actors/services.hpp"
#include "gateway/oidc/discovery.hpp"
#include "gateway/oidc/login.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// The identity provider, as one configuration names it: its keys, and what it vouches for. Calls to it run on the
/// blocking pool; everything here is for the io loop's thread, where what is passed on is called, too: at once if
/// nothing has to be asked for. Made anew when the configuration changes.
class identity_provider : public std::enable_shared_from_this<identity_provider> {
public:
  template <class T>
  using then = std::function<void(const outcome<T>&)>;

  identity_provider(services& with, oidc_settings settings);
  ~identity_provider(); // calls that are under way end soon, and nothing is called any more

  const oidc_settings& settings() const { return settings_; }

  /// Whose access token this is; nothing: the provider has to be asked first. forbidden, with the reason for the log.
  std::optional<outcome<oidc_login>> judge_at_once(const std::string& token);
  /// The same, asked if need be: for keys it does not know, and for what the token leaves out. Other codes: it could
  /// not be asked.
  void judge(const std::string& token, then<oidc_login> next);

  /// Where a browser logs in.
  void authorization_endpoint(then<std::string> next);
  /// Brings the code that the provider gave to a browser; whose it is.
  struct code_call {
    std::string code, verifier, nonce, redirect;
  };
  void redeem(const code_call& call, then<oidc_login> next);

private:
  struct believed {
    oidc_login who;
    int64_t ends; // seconds since the epoch
  };
  using clock = std::chrono::steady_clock;

  bool are_fresh() const;
  bool are_usable() const;
  bool may_ask();
  void learn(std::function<void(const outcome<void>&)> next);
  void learned(outcome<provider_facts> facts);
  outcome<signed_token> verified(const std::string& token, const std::string& audience);
  void complete(nlohmann::json claims, const std::string& access_token, then<oidc_login> next);
  void remember(const std::string& token, const oidc_login& who);
  void finish_code(const outcome<nlohmann::json>& tokens, const std::string& nonce, then<oidc_login> next);
  /// Few at once: a provider that is slow must not take all threads of the pool, nor a stranger make us flood it.
  template <class T>
  void on_pool(std::function<outcome<T>(const cancel_token&)> work, std::function<void(outcome<T>)> next);

  services& with_;
  const oidc_settings settings_;
  std::shared_ptr<cancel_token> stop_ = std::make_shared<cancel_token>();
  std::optional<provider_facts> facts_;
  clock::time_point learned_at_;
  bool learning_ = false;
  std::vector<std::function<void(const outcome<void>&)>> waiting_; // each for a connection: as bounded as these
  double asks_left_;                                               // refilled with time
  clock::time_point counted_at_;
  int calls_ = 0;                                         // under way
  std::map<std::string, believed, std::less<>> believed_; // by the token's hash
};

} // namespace troupe
